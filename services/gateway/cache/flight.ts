/**
 * One answer in the making that all who asked the same question share: the first to read starts the work, the others get what has come so far and
 * then the rest, as a stream or whole. The work is given up when nobody reads any more, not when the first one leaves.
 * It reads ahead of the fastest reader by so much and no more: clients that all read slowly slow the source down, one of them does not slow the others.
 * Not responsible for: who takes part (flights.ts).
 */
import { EverloraError } from "../../../shared/errors/errors.ts";
import { textOf, type AnswerSource } from "../../../shared/events/conversation.ts";
import { Accumulator } from "../chat/accumulator.ts";
import { completionOf, replayChunks, type Chunk, type Completion, type Head } from "../chat/completion.ts";
import type { Source } from "../chat/source.ts";

/** Chunks that are read from the source before anybody has taken them. An answer is kept whole for those who join late; max_tokens bounds that. */
export const mostAhead = 256;

/** Of the chat's source, as much as a flight needs. */
type Work = Pick<Source, "complete" | "stream">;

export class Flight {
  /** The id under which the answer is recorded, whoever gets it. */
  readonly conversation: string;
  readonly #abort = new AbortController();
  readonly #chunks: Chunk[] = [];
  #whole: Completion | undefined;
  #state: "boarding" | "under way" | "landed" | "failed" = "boarding";
  #failure: unknown;
  #readers = 0;
  /** How many chunks the fastest reader has asked for, or all of them when somebody waits for the whole. */
  #wanted = 0;
  #wakeSource: (() => void) | undefined;
  #kept = false;
  #waiting: (() => void)[] = [];

  constructor(conversation: string) {
    this.conversation = conversation;
  }

  get failed(): boolean {
    return this.#state === "failed";
  }

  /** True once, for the one who records and caches the answer. */
  claim(): boolean {
    const first = !this.#kept;
    this.#kept = true;
    return first;
  }

  /** A source that takes part. @param work the same for all who take part; the first one's is used */
  share<S extends AnswerSource>(work: Work & { readonly kind: S }, head: Head): Work & { readonly kind: S } {
    return {
      kind: work.kind,
      stream: (signal) => this.#stream(work, head, signal),
      complete: (signal) => this.#reading(signal, async (left) => {
        if (this.#state === "boarding") void this.#runWhole(work);
        this.#want(Infinity);
        while (this.#state === "under way") await this.#news(left);
        if (this.#state === "failed") throw this.#failure;
        return { ...(this.#whole ?? completionFrom(this.#chunks, head)), id: head.id };
      }),
    };
  }

  async *#stream(work: Work, head: Head, signal: AbortSignal): AsyncGenerator<Chunk, void, undefined> {
    this.#readers++;
    try {
      if (this.#state === "boarding") void this.#runStream(work);
      for (let next = 0; ; ) {
        this.#want(next + 1);
        const chunk = this.#chunks[next];
        if (chunk !== undefined) {
          next++;
          yield { ...chunk, id: head.id };
        } else if (this.#state === "failed") throw this.#failure;
        else if (this.#state === "landed") break;
        else await this.#news(signal);
        if (signal.aborted) return;
      }
      if (this.#whole !== undefined) yield* chunksFrom(this.#whole, head);
    } finally {
      this.#left();
    }
  }

  async #reading<T>(signal: AbortSignal, read: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#readers++;
    try {
      return await read(signal);
    } finally {
      this.#left();
    }
  }

  async #runStream(work: Work): Promise<void> {
    await this.#run(async () => {
      for await (const chunk of work.stream(this.#abort.signal)) {
        this.#chunks.push(chunk);
        this.#tell();
        await this.#room();
      }
    });
  }

  async #runWhole(work: Work): Promise<void> {
    await this.#run(async () => void (this.#whole = await work.complete(this.#abort.signal)));
  }

  async #run(work: () => Promise<void>): Promise<void> {
    this.#state = "under way";
    try {
      await work();
      this.#state = "landed";
    } catch (error) {
      this.#failure = error;
      this.#state = "failed";
    }
    this.#tell();
  }

  #left(): void {
    this.#readers--;
    if (this.#readers > 0 || this.#state !== "under way") return;
    this.#abort.abort();
    this.#wakeSource?.(); // so that it sees the abort
  }

  #want(count: number): void {
    this.#wanted = Math.max(this.#wanted, count);
    if (this.#chunks.length < this.#wanted + mostAhead) this.#wakeSource?.();
  }

  /** Until the next chunk may be read. */
  async #room(): Promise<void> {
    while (this.#chunks.length >= this.#wanted + mostAhead && !this.#abort.signal.aborted) await new Promise<void>((resolve) => (this.#wakeSource = resolve));
    this.#wakeSource = undefined;
  }

  /** Resolves when something changed. @throws EverloraError cancelled when the reader has gone */
  #news(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(gone());
    return new Promise((resolve, reject) => {
      const aborted = () => reject(gone());
      signal.addEventListener("abort", aborted, { once: true });
      this.#waiting.push(() => {
        signal.removeEventListener("abort", aborted);
        resolve();
      });
    });
  }

  #tell(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

function completionFrom(chunks: readonly Chunk[], head: Head): Completion {
  const whole = new Accumulator();
  for (const chunk of chunks) whole.add(chunk);
  const choices = whole.choices(1);
  if (choices === null) throw new EverloraError("cancelled", "The answer broke off.");
  return completionOf({ ...head, model: whole.model ?? head.model }, choices, whole.usage);
}

/** A whole answer for one who asked for a stream. Only answers of text are shared (flights.ts). */
function* chunksFrom(completion: Completion, head: Head): Generator<Chunk> {
  const [choice] = completion.choices;
  const message = choice?.message;
  const text = message === undefined ? "" : textOf({ role: "assistant", content: message.content });
  for (const chunk of replayChunks({ ...head, model: completion.model ?? head.model }, text, completion.usage ?? undefined)) {
    yield chunk.choices[0]?.finish_reason === "stop" ? { ...chunk, choices: [{ ...chunk.choices[0], finish_reason: choice?.finish_reason ?? "stop" }] } : chunk;
  }
}

function gone(): EverloraError {
  return new EverloraError("cancelled", "The client closed the connection.");
}
