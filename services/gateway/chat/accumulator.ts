/** Folds the chunks of a stream into the whole answer, tool calls too. Knows when a stream has really ended: only with a finish_reason. */
import type { Message } from "../../../shared/events/conversation.ts";
import type { Chunk, Usage } from "./completion.ts";

interface ToolCall {
  id: string | undefined;
  type: string;
  name: string;
  arguments: string;
}

export class Accumulator {
  #content = "";
  #refusal = "";
  #finishReason: string | null = null;
  #usage: Usage | undefined;
  #model: string | undefined;
  readonly #calls = new Map<number, ToolCall>();

  add(chunk: Chunk): void {
    this.#model ??= chunk.model ?? undefined;
    this.#usage = chunk.usage ?? this.#usage;
    const choice = chunk.choices.find(({ index }) => (index ?? 0) === 0);
    if (choice === undefined) return;
    this.#content += choice.delta?.content ?? "";
    this.#refusal += choice.delta?.refusal ?? "";
    this.#finishReason = choice.finish_reason ?? this.#finishReason;
    for (const part of choice.delta?.tool_calls ?? []) {
      const call = this.#calls.get(part.index) ?? { id: undefined, type: "function", name: "", arguments: "" };
      call.id ??= part.id ?? undefined;
      call.type = part.type ?? call.type;
      call.name += part.function?.name ?? "";
      call.arguments += part.function?.arguments ?? "";
      this.#calls.set(part.index, call);
    }
  }

  /** null while the stream has not come to its end. */
  get finishReason(): string | null {
    return this.#finishReason;
  }

  get usage(): Usage | undefined {
    return this.#usage;
  }

  get model(): string | undefined {
    return this.#model;
  }

  get refused(): boolean {
    return this.#refusal !== "";
  }

  get message(): Message {
    const calls = [...this.#calls.entries()].sort(([a], [b]) => a - b).map(([, call]) => ({ id: call.id, type: call.type, function: { name: call.name, arguments: call.arguments } }));
    if (calls.length === 0) return { role: "assistant", content: this.#content };
    return { role: "assistant", content: this.#content === "" ? null : this.#content, tool_calls: calls };
  }
}
