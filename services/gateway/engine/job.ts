/** One piece of work for an engine child, from the queue to its last event. */
import { createHash } from "node:crypto";
import type { Channel } from "./channel.ts";
import type { FromChild, ToChild } from "./protocol.ts";

export type Work = Extract<ToChild, { type: "generate" | "score" | "embed" }>;
export type JobEvent = Extract<FromChild, { type: "token" | "done" | "scored" | "embedded" }>;

export interface Job {
  readonly work: Work;
  readonly caller: string;
  readonly events: Channel<JobEvent>;
  /** Jobs with the same number share the beginning of their prompt: the child that has computed it once need not do so again. */
  readonly affinity: number;
  /** Something of the answer went out: it can't be begun anew. */
  streaming: boolean;
  attempts: number;
}

export function generationOf(work: Work): string | null {
  return work.type === "embed" ? null : work.generation;
}

/** Of the generation and the first message: a system prompt, or the beginning of the same dialogue. */
export function affinityOf(work: Work): number {
  const begin = work.type === "embed" ? work.id : (work.messages?.[0]?.content ?? (work.type === "generate" ? work.prompt?.slice(0, 256) : undefined));
  return createHash("sha256").update(`${generationOf(work) ?? ""} ${JSON.stringify(begin ?? null)}`).digest().readUInt32LE(0);
}
