/**
 * One chat request from end to end: route, cache, source, sending, recording. The only place that knows their order.
 * What must hold: headers go out only once there is something to send, so that a failure before has its own status; an answer is recorded
 * before its client sees the end of it; a lease ends with its answer.
 */
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "pino";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { messageSchema, type Conversation, type Message } from "../../../shared/events/conversation.ts";
import { sendJson } from "../../../shared/http/app.ts";
import type { Settings } from "../../../shared/config/settings.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { Hit, SemanticCache } from "../cache/cache.ts";
import { isKeepable } from "../cache/entries.ts";
import type { Boarding } from "../cache/flights.ts";
import type { Answerer, CacheKey } from "../cache/key.ts";
import type { Recorder } from "../record/recorder.ts";
import { Accumulator } from "./accumulator.ts";
import { replayChunks, type Chunk, type Completion, type Head } from "./completion.ts";
import type { Backend } from "./backend.ts";
import { breakOff } from "./break_off.ts";
import { cacheWish, setCacheHeaders, setRouteHeaders, tagsOf } from "./headers.ts";
import { patienceFor, type Patience } from "./patience.ts";
import type { ChatRequest } from "./request.ts";
import { routeRequest, saidBy, type Route, type RoutingOptions } from "./routing.ts";
import { serverSource, type Source } from "./source.ts";
import { EventWriter } from "./sse.ts";
import { within } from "../within.ts";
import { Stopwatch } from "./stopwatch.ts";

/** A Redis that hangs delays the end of an answer by no more than this; recording goes on behind it. */
const recordBudgetMs = 1_000;

export interface ChatDependencies extends RoutingOptions {
  /** Runs base and adapters. */
  readonly backend: Backend;
  readonly settings: Settings;
  readonly cache: SemanticCache;
  readonly recorder: Recorder;
  readonly log: Logger;
  readonly metrics: Metrics<"gateway">;
}

interface Turn {
  readonly request: ChatRequest;
  readonly route: Route;
  readonly source: Source;
  readonly head: Head;
  readonly key: CacheKey | null;
  readonly recorded: boolean;
  readonly watch: Stopwatch;
  /** Where others may get the same answer at the same time. */
  readonly boarding: Boarding | null;
  readonly tags: readonly string[];
}

export async function answerChat(http: IncomingMessage, response: ServerResponse, request: ChatRequest, dependencies: ChatDependencies): Promise<void> {
  const patience = patienceFor(http, response, dependencies.settings);
  const watch = new Stopwatch(dependencies.metrics);
  const route = await routeRequest({ model: request.model, lack: dependencies.backend.lacks(request), said: () => saidBy(request.messages) }, dependencies);
  setRouteHeaders(response, route);
  let boarding: Boarding | null = null;
  try {
    const wish = cacheWish(http);
    const key = wish.lookup || wish.keep ? dependencies.cache.keyOf(request, answererOf(route, dependencies)) : null;
    const entrance = key !== null && wish.lookup ? await dependencies.cache.enter(key, wish.keep) : { hit: null, boarding: null, exactOnly: false };
    if (key === null || !wish.lookup) dependencies.metrics.cacheRequests.inc({ result: "bypass" });
    const head: Head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model: route.target.model };
    if (entrance.hit !== null) {
      setCacheHeaders(response, entrance.hit, "miss", head.id);
      await replay(response, request, entrance.hit, head, watch);
      return;
    }
    boarding = entrance.boarding;
    const conversation = boarding?.flight.conversation ?? head.id;
    setCacheHeaders(response, null, key === null || !wish.lookup ? "bypass" : boarding?.joined === true ? "joined" : entrance.exactOnly ? "miss-exact" : "miss", conversation);
    // The first one's completion has the id under which it is recorded.
    const own: Head = boarding?.joined === true ? head : { ...head, id: conversation };
    const source = sourceOf(request, route, own, dependencies);
    const turn: Turn = { request, route, source: boarding?.flight.share(source, own) ?? source, head: own, key: wish.keep ? key : null, recorded: wish.keep && request.body.store !== false, watch, boarding, tags: tagsOf(http) };
    await (request.stream ? sendStream(response, turn, patience, dependencies) : sendWhole(response, turn, patience, dependencies));
  } finally {
    boarding?.leave();
    route.release();
  }
}

function answererOf({ target }: Route, { model }: ChatDependencies): Answerer {
  return target.kind === "engine" ? { kind: "engine", base: model.sha256, generation: target.generation } : { kind: "upstream", model: target.model };
}

function sourceOf(request: ChatRequest, { target }: Route, head: Head, { backend, upstream }: ChatDependencies): Source {
  if (target.kind === "engine") return backend.chat(request, target, head);
  if (upstream === undefined) throw new EverloraError("internal_error", "A route to an upstream that there isn't.");
  return serverSource(upstream, "upstream", request, target.model, head);
}

async function replay(response: ServerResponse, request: ChatRequest, { answer }: Hit, fresh: Head, watch: Stopwatch): Promise<void> {
  watch.firstToken("cache");
  if (!request.stream) sendJson(response, answer.json(fresh));
  else {
    const events = new EventWriter(response);
    for (const chunk of replayChunks({ ...fresh, model: answer.model }, answer.text(), answer.usage ?? undefined)) {
      const event = forClient(chunk, request);
      if (event !== undefined) await events.data(event);
    }
    await events.done();
  }
  watch.end("cache", "ok");
}

async function sendWhole(response: ServerResponse, turn: Turn, patience: Patience, dependencies: ChatDependencies): Promise<void> {
  const { source, watch } = turn;
  let completion: Completion;
  try {
    completion = await source.complete(patience.signal);
  } catch (thrown) {
    return breakOff(response, thrown, { patience, watch, source: source.kind, log: dependencies.log });
  }
  watch.firstToken(source.kind);
  const [choice] = completion.choices;
  const message = choice === undefined ? undefined : messageSchema.safeParse({ ...choice.message, tool_calls: choice.message.tool_calls ?? undefined }).data;
  if (choice !== undefined && message !== undefined) {
    const whole = { message, finishReason: choice.finish_reason ?? null, refused: typeof choice.message.refusal === "string" && choice.message.refusal !== "", model: completion.model ?? undefined, usage: completion.usage ?? undefined };
    await keep(turn, whole, dependencies);
  }
  sendJson(response, completion);
  watch.end(source.kind, "ok");
}

async function sendStream(response: ServerResponse, turn: Turn, patience: Patience, dependencies: ChatDependencies): Promise<void> {
  const { request, source, watch } = turn;
  const events = new EventWriter(response);
  const whole = new Accumulator();
  try {
    for await (const chunk of source.stream(patience.signal)) {
      whole.add(chunk);
      watch.firstToken(source.kind);
      const event = forClient(chunk, request);
      if (event !== undefined) await events.data(event);
    }
    if (patience.signal.aborted) throw patience.signal.reason;
    await keep(turn, whole, dependencies);
    await events.done();
    watch.end(source.kind, "ok");
  } catch (thrown) {
    await breakOff(response, thrown, { patience, watch, source: source.kind, log: dependencies.log });
  }
}

/** OpenAI's rule: no usage unless asked for; then `usage: null` on every chunk but the last. */
function forClient(chunk: Chunk, { includeUsage }: ChatRequest): Chunk | undefined {
  const isUsage = chunk.choices.length === 0 && chunk.usage !== null && chunk.usage !== undefined;
  if (isUsage) return includeUsage ? chunk : undefined;
  return includeUsage ? { ...chunk, usage: chunk.usage ?? null } : chunk;
}

/** Records the conversation, and caches the answer where that is right. A stream without a finish reason is no answer. */
async function keep(turn: Turn, whole: Pick<Accumulator, "message" | "finishReason" | "refused" | "model" | "usage">, { recorder }: ChatDependencies): Promise<void> {
  const { request, route, source, head, key, boarding, tags } = turn;
  if (!turn.recorded || whole.finishReason === null) return;
  if (boarding?.flight.claim() === false) return;
  const tools = request.body.tools ?? [];
  const conversation: Conversation = {
    version: 1,
    id: boarding?.flight.conversation ?? head.id,
    createdAt: Date.now(),
    caller: request.caller,
    messages: request.messages.map(known),
    answer: whole.message,
    finishReason: whole.finishReason,
    source: source.kind,
    model: whole.model ?? head.model,
    generation: route.target.kind === "engine" ? route.target.generation : null,
    ...(tools.length === 0 ? {} : { tools }),
  };
  const entry = key !== null && !whole.refused && isKeepable(conversation) ? { key, conversation, usage: whole.usage, tags } : null;
  await within(recordBudgetMs, recorder.record(conversation, entry)).catch(() => undefined);
}

/** The fields of a message that a conversation has; they were checked with the request. */
function known({ role, content, name, tool_calls: calls, tool_call_id: id }: Message): Message {
  return { role, ...(content === undefined ? {} : { content }), ...(name === undefined ? {} : { name }), ...(calls === undefined ? {} : { tool_calls: calls }), ...(id === undefined ? {} : { tool_call_id: id }) };
}
