/** Folds the chunks of a stream into the whole answers, tool calls too. Knows when a stream has really ended: only with a finish_reason. */
import type { Message } from "../../../shared/events/conversation.ts";
import type { TokenLogprob } from "../engine/protocol.ts";
import type { Chunk, Usage, WholeChoice } from "./completion.ts";

interface ToolCall {
  id: string | undefined;
  type: string;
  name: string;
  arguments: string;
}

class Choice {
  content = "";
  refusal = "";
  finishReason: string | null = null;
  logprobs: TokenLogprob[] | undefined;
  readonly calls = new Map<number, ToolCall>();

  get message(): Message {
    const calls = [...this.calls.entries()].sort(([a], [b]) => a - b).map(([, call]) => ({ id: call.id, type: call.type, function: { name: call.name, arguments: call.arguments } }));
    if (calls.length === 0) return { role: "assistant", content: this.content };
    return { role: "assistant", content: this.content === "" ? null : this.content, tool_calls: calls };
  }
}

export class Accumulator {
  readonly #choices = new Map<number, Choice>();
  #usage: Usage | undefined;
  #model: string | undefined;

  add(chunk: Chunk): void {
    this.#model ??= chunk.model ?? undefined;
    this.#usage = chunk.usage ?? this.#usage;
    for (const { index, delta, finish_reason: finishReason } of chunk.choices) {
      const choice = this.#choice(index ?? 0);
      choice.content += delta?.content ?? "";
      choice.refusal += delta?.refusal ?? "";
      choice.finishReason = finishReason ?? choice.finishReason;
      for (const part of delta?.tool_calls ?? []) {
        const call = choice.calls.get(part.index) ?? { id: undefined, type: "function", name: "", arguments: "" };
        call.id ??= part.id ?? undefined;
        call.type = part.type ?? call.type;
        call.name += part.function?.name ?? "";
        call.arguments += part.function?.arguments ?? "";
        choice.calls.set(part.index, call);
      }
    }
  }

  /** Of the engine's own answers; an upstream's are not kept. */
  addLogprobs(index: number, logprobs: readonly TokenLogprob[]): void {
    const choice = this.#choice(index);
    choice.logprobs = [...(choice.logprobs ?? []), ...logprobs];
  }

  /** Of the first answer; null while the stream has not come to its end. */
  get finishReason(): string | null {
    return this.#choices.get(0)?.finishReason ?? null;
  }

  get usage(): Usage | undefined {
    return this.#usage;
  }

  get model(): string | undefined {
    return this.#model;
  }

  get refused(): boolean {
    return (this.#choices.get(0)?.refusal ?? "") !== "";
  }

  get message(): Message {
    return this.#choice(0).message;
  }

  /** All answers in order, or null when one has not come to its end. */
  choices(count: number): WholeChoice[] | null {
    const whole: WholeChoice[] = [];
    for (let index = 0; index < count; index++) {
      const choice = this.#choices.get(index);
      if (choice === undefined || choice.finishReason === null) return null;
      whole.push({ answer: choice.message, finishReason: choice.finishReason, logprobs: choice.logprobs });
    }
    return whole;
  }

  #choice(index: number): Choice {
    const known = this.#choices.get(index);
    if (known !== undefined) return known;
    const made = new Choice();
    this.#choices.set(index, made);
    return made;
  }
}
