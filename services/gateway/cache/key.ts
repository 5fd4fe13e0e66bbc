/**
 * Where an answer may be found again: its scope, its exact key within, and what the semantic tier compares. Everything that could change the
 * answer is in the scope, and whatever we don't know counts as that.
 */
import { sha256, textOf, type Message } from "../../../shared/events/conversation.ts";
import type { ChatRequest } from "../chat/request.ts";
import { embed, embedder, longestText } from "./embedding.ts";
import { gateKey } from "./gates.ts";
import { read } from "./text.ts";

export interface CacheKey {
  readonly scope: string;
  /** Also the entry's id. */
  readonly exact: string;
  /** null: only an exact hit can be right (a dialogue, a turn with tools, nothing to compare). */
  readonly semantic: { readonly gate: string; readonly vector: Float32Array } | null;
  /** An answer that was longer would have been cut short. */
  readonly maxTokens: number | undefined;
}

/** Who answers on a miss, so that answers of another base, generation or upstream are never found. */
export type Answerer = { kind: "engine"; base: string; generation: string | null } | { kind: "upstream"; model: string };

/** Fields that don't change what the answer says. Of the request's others, known or not, each is part of the scope. */
const irrelevant = new Set(["messages", "model", "stream", "stream_options", "n", "user", "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier", "max_tokens", "max_completion_tokens", "temperature"]);

/** null when this request must not be answered from a cache, nor its answer kept. */
export function cacheKey(request: ChatRequest, answerer: Answerer): CacheKey | null {
  // Whoever turns the temperature above OpenAI's default asks for variety; log probabilities are not kept.
  if (request.temperature > 1 || request.body.logprobs === true || request.body.store === false) return null;
  if (request.messages.some(({ content }) => Array.isArray(content) && content.some((part) => part.type !== "text"))) return null;
  const instructions = request.messages.filter(isInstruction).map((message) => [message.role, textOf(message), message.name ?? null]);
  const others = Object.entries(request.body).filter(([name, value]) => !irrelevant.has(name) && value !== null && value !== undefined);
  const scope = sha256(canonical(["chat", embedder, request.caller, request.model, answerer, instructions, samplingClass(request.temperature), Object.fromEntries(others)]));
  return { scope, exact: sha256(canonical([scope, request.messages])), semantic: semanticPart(request), maxTokens: request.maxTokens };
}

/** JSON with sorted keys and without undefined: equal for equal values. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) : inner,
  );
}

function samplingClass(temperature: number): string {
  return temperature === 0 ? "greedy" : temperature <= 0.5 ? "narrow" : "usual";
}

function isInstruction({ role }: Message): boolean {
  return role === "system" || role === "developer";
}

function semanticPart(request: ChatRequest): CacheKey["semantic"] {
  if ((request.body.tools?.length ?? 0) > 0 || "functions" in request.body) return null;
  const [only, ...more] = request.messages.filter((message) => !isInstruction(message));
  // The question must come last: instructions after it may turn it into another.
  if (only?.role !== "user" || only.name !== undefined || more.length > 0 || request.messages.at(-1) !== only) return null;
  const text = textOf(only);
  if (text.length > longestText) return null;
  const reading = read(text);
  const gate = gateKey(text, reading);
  return gate === null ? null : { gate, vector: embed(reading) };
}
