/**
 * Where an answer may be found again: its scope, its exact key within, and what the semantic tier compares. Everything that could change the
 * answer is in the scope, and whatever we don't know counts as that.
 */
import { sha256, textOf, type Message } from "../../../shared/events/conversation.ts";
import type { ChatRequest } from "../chat/request.ts";
import { longestText, type Embedding } from "./embedding.ts";
import { gateOf } from "./gates.ts";
import { read } from "./text.ts";

export interface SemanticKey {
  /** Hash of scope, embedding and gates: only within one are vectors compared. */
  readonly partition: string;
  /** Hash of every word that carries meaning, in order. */
  readonly words: string;
  /** The same without their order. */
  readonly bag: string;
  readonly vector: Float32Array;
}

export interface CacheKey {
  readonly scope: string;
  /** Also the entry's id. */
  readonly exact: string;
  readonly caller: string;
  /** An answer that was longer would have been cut short. */
  readonly maxTokens: number | undefined;
  /** Whether those who ask the same at the same time may share one answer: with tools it may be more than text. */
  readonly shareable: boolean;
  /** Worked out when first asked for: an exact hit needs none. null: only an exact hit can be right (a dialogue, a turn with tools, nothing to compare). */
  semantic(): Promise<SemanticKey | null>;
}

/** Who answers on a miss, so that answers of another base, generation or upstream are never found. */
export type Answerer = { kind: "engine"; base: string; generation: string | null } | { kind: "upstream"; model: string };

export interface KeyOptions {
  readonly embedding: Embedding;
  /** Every word must agree, at any similarity. */
  readonly strict: boolean;
  /** Dialogues and turns with tools are looked up by meaning as well. */
  readonly dialogues: boolean;
}

/** Fields that don't change what the answer says. Of the request's others, known or not, each is part of the scope. */
const irrelevant = new Set(["messages", "model", "stream", "stream_options", "n", "user", "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier", "max_tokens", "max_completion_tokens", "temperature"]);

/** null when this request must not be answered from a cache, nor its answer kept. */
export function cacheKey(request: ChatRequest, answerer: Answerer, options: KeyOptions): CacheKey | null {
  // Whoever turns the temperature above OpenAI's default, or wants several answers, asks for variety; log probabilities are not kept.
  if (request.temperature > 1 || request.body.logprobs === true || request.body.store === false || (request.body.n ?? 1) !== 1) return null;
  if (request.messages.some(({ content }) => Array.isArray(content) && content.some((part) => part.type !== "text"))) return null;
  const instructions = request.messages.filter(isInstruction).map((message) => [message.role, textOf(message), message.name ?? null]);
  const others = Object.entries(request.body).filter(([name, value]) => !irrelevant.has(name) && value !== null && value !== undefined);
  const scope = sha256(canonical(["chat 2", request.caller, request.model, answerer, instructions, samplingClass(request.temperature), Object.fromEntries(others)]));
  let semantic: Promise<SemanticKey | null> | undefined;
  return {
    scope,
    exact: sha256(canonical([scope, request.messages])),
    caller: request.caller,
    maxTokens: request.maxTokens,
    shareable: (request.body.tools?.length ?? 0) === 0 && !("functions" in request.body),
    semantic: () => (semantic ??= semanticKey(request, scope, options)),
  };
}

/** JSON with sorted keys and without undefined: equal for equal values. Written for speed: it runs twice for each request. */
function canonical(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  let text = "";
  if (Array.isArray(value)) {
    for (const each of value as unknown[]) text += `${text === "" ? "" : ","}${canonical(each ?? null)}`;
    return `[${text}]`;
  }
  const fields = value as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(fields).sort()) {
    const inner = fields[name];
    if (inner !== undefined) text += `${text === "" ? "" : ","}${JSON.stringify(name)}:${canonical(inner)}`;
  }
  return `{${text}}`;
}

function samplingClass(temperature: number): string {
  return temperature === 0 ? "greedy" : temperature <= 0.5 ? "narrow" : "usual";
}

function isInstruction({ role }: Message): boolean {
  return role === "system" || role === "developer";
}

async function semanticKey(request: ChatRequest, scope: string, { embedding, strict, dialogues }: KeyOptions): Promise<SemanticKey | null> {
  const last = request.messages.at(-1);
  // The question must come last: instructions after it may turn it into another.
  if (last?.role !== "user" || last.name !== undefined) return null;
  const earlier = request.messages.slice(0, -1);
  const plain = earlier.every(isInstruction) && (request.body.tools?.length ?? 0) === 0 && !("functions" in request.body);
  if (!plain && !dialogues) return null;
  const text = textOf(last);
  if (text.length > longestText) return null;
  const reading = read(text);
  const gate = gateOf(reading);
  if (gate === null) return null;
  // What was said before must be the same to the letter; only the last question is compared by meaning.
  const partition = sha256(canonical([scope, embedding.identity, earlier.filter((message) => !isInstruction(message)), gate.facts, strict ? gate.words : null]));
  return { partition, words: gate.words, bag: gate.bag, vector: await embedding.embed(reading) };
}
