/**
 * The gateway's view of the engine: generate, score, embed, load and unload, over whatever child processes are alive just now. Holds the bounded queue,
 * gives each job to a child that has room and the right adapter, and gives it to another when that child dies before the answer began to stream.
 * Not responsible for: which adapter answers (adapters/), one child and its adapters (replica.ts), a child's life (supervisor.ts).
 */
import { randomUUID } from "node:crypto";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import { environmentOf, parentEnvironment, type Settings } from "../../../shared/config/settings.ts";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import type { Message } from "../../../shared/events/conversation.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import { Channel } from "./channel.ts";
import { FairQueue } from "./fair_queue.ts";
import { affinityOf, generationOf, type Job, type JobEvent, type Work } from "./job.ts";
import { loadEverywhere } from "./load_everywhere.ts";
import type { FromChild } from "./protocol.ts";
import { Replica } from "./replica.ts";
import type { Loaded } from "./residents.ts";
import { errorOf, type EngineState, type Ready } from "./supervisor.ts";

type GenerateWork = Extract<Work, { type: "generate" }>;
export interface GenerateRequest extends Omit<GenerateWork, "type" | "id" | "messages" | "stop"> {
  /** One of the two. */
  readonly messages?: readonly Message[] | undefined;
  readonly stop: readonly string[];
  /** Who asks: callers take turns. */
  readonly caller?: string;
}
export type GenerationEvent = Extract<FromChild, { type: "token" | "done" }>;
export type Score = Pick<Extract<FromChild, { type: "scored" }>, "loss" | "tokens">;
export type Embedded = Pick<Extract<FromChild, { type: "embedded" }>, "vectors" | "tokens">;

export interface EngineOptions {
  readonly settings: Settings;
  readonly log: Logger;
  readonly metrics: Pick<Metrics<"gateway">, "engineRestarts" | "inferenceTokens" | "engineReplicas" | "engineQueue" | "engineShed" | "enginePrefixBytes">;
  /** Another child script, for tests. */
  readonly script?: string;
  /** An adapter that was loaded could not be put into a new child; it is no longer resident. */
  readonly onLost?: (generation: string, error: EverloraError) => void;
}

const defaultScript = fileURLToPath(new URL("./child.ts", import.meta.url));
const mostAttempts = 2;

export class Engine {
  readonly #options: EngineOptions;
  readonly #replicas: readonly Replica[];
  readonly #queue = new FairQueue<Job>();
  readonly #watchdog: NodeJS.Timeout;
  readonly #downListeners = new Set<() => void>();
  #everReady = false;
  #closed = false;

  constructor(options: EngineOptions) {
    this.#options = options;
    const { settings, log } = options;
    const count = settings.ENGINE_REPLICAS;
    // One child may use all cores; several share them, or they would only wait for each other.
    const threads = count === 1 ? settings.COMPUTE_THREADS : Math.max(1, Math.floor((settings.COMPUTE_THREADS === 0 ? availableParallelism() : settings.COMPUTE_THREADS) / count));
    const environment = { ...parentEnvironment(), ...environmentOf({ ...settings, COMPUTE_THREADS: threads }) };
    this.#replicas = Array.from({ length: count }, (_, at) => {
      return new Replica({
        script: options.script ?? defaultScript,
        environment,
        log: log.child({ replica: at }),
        onRoom: () => this.#onRoom(),
        onStats: () => options.metrics.enginePrefixBytes.set(this.#replicas.reduce((sum, { prefixBytes }) => sum + prefixBytes, 0)),
        onMessage: (replica, message) => this.#onMessage(replica, message),
        onDown: (replica, reason, hopeless, jobs) => this.#onDown(replica, reason, hopeless, jobs),
        onLost: (generation, error) => this.#onLost(generation, error),
      });
    });
    this.#watchdog = setInterval(() => this.#replicas.forEach((replica) => replica.checkSilence()), 10_000);
    this.#watchdog.unref();
  }

  /**
   * Resolves with the first child that is ready; the others start behind it, and find what it compiled.
   * @throws EverloraError what the child says it can never work with, for example invalid_model_folder
   */
  async start(): Promise<Ready> {
    const [first, ...others] = this.#replicas;
    if (first === undefined) throw new EverloraError("internal_error", "An engine without replicas.");
    const ready = await first.start();
    for (const replica of others) replica.start().catch((error: unknown) => this.#closed || this.#options.log.error({ reason: messageOf(error) }, "an engine replica could not be started; the others go on"));
    return ready;
  }

  get state(): EngineState {
    const states = this.#replicas.map(({ state }) => state);
    const best = states.find(({ kind }) => kind === "ready") ?? states.find(({ kind }) => kind === "restarting") ?? states[0];
    return best ?? { kind: "failed", reason: "there is no engine" };
  }

  /** Pid of the first child, for tests and logs. */
  get pid(): number | undefined {
    return this.#replicas[0]?.pid;
  }

  get pids(): readonly number[] {
    return this.#replicas.flatMap(({ pid }) => pid ?? []);
  }

  /**
   * The answer, piece by piece; the last event is `done`, unless the signal ended it. Aborting (or leaving the loop) frees the engine.
   * @throws EverloraError engine_unavailable, overloaded, rate_limited, context_length_exceeded, or what else the child reports
   */
  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<GenerationEvent, void, undefined> {
    const { caller, messages, stop, ...rest } = request;
    const work: GenerateWork = { ...rest, type: "generate", id: randomUUID(), stop: [...stop], ...(messages === undefined ? {} : { messages: [...messages] }) };
    for await (const event of this.#events(work, caller, signal)) {
      if (event.type !== "token" && event.type !== "done") continue;
      yield event;
      if (event.type === "done") return;
    }
  }

  /** Mean loss in nats a token of the last message, which is the assistant's. @throws EverloraError as generate */
  async score(messages: readonly Message[], generation: string | null, signal?: AbortSignal): Promise<Score> {
    for await (const event of this.#events({ type: "score", id: randomUUID(), messages: [...messages], generation }, undefined, signal)) if (event.type === "scored") return { loss: event.loss, tokens: event.tokens };
    throw new EverloraError("cancelled", "The scoring was aborted.");
  }

  /** Sentence embeddings, one a text, by the model of EMBEDDING_MODEL. @throws EverloraError engine_failed where none is set; as generate */
  async embed(texts: readonly string[], caller?: string, signal?: AbortSignal): Promise<Embedded> {
    for await (const event of this.#events({ type: "embed", id: randomUUID(), texts: [...texts] }, caller, signal)) if (event.type === "embedded") return { vectors: event.vectors, tokens: event.tokens };
    throw new EverloraError("cancelled", "The embedding was aborted.");
  }

  /** Resolves when every child that is up can answer with it; one that is not takes it in before its next job. @throws EverloraError adapter_incompatible, engine_failed, … */
  async load(generation: string, folder: string): Promise<Loaded> {
    const onDown = (listener: () => void) => {
      this.#downListeners.add(listener);
      return () => this.#downListeners.delete(listener);
    };
    return loadEverywhere(this.#replicas, generation, folder, onDown);
  }

  /** Resolves when its memory is free. */
  async unload(generation: string): Promise<void> {
    await Promise.all(this.#replicas.map((replica) => replica.unload(generation)));
  }

  async close(): Promise<void> {
    clearInterval(this.#watchdog);
    this.#closed = true;
    await Promise.all(this.#replicas.map((replica) => replica.close()));
    for (const job of this.#queue.drain()) job.events.end(new EverloraError("engine_unavailable", "The gateway is ending."));
  }

  async *#events(work: Work, caller: string | undefined, signal: AbortSignal | undefined): AsyncGenerator<JobEvent, void, undefined> {
    const job = this.#submit(work, caller ?? "");
    const abort = () => this.#abort(job);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) abort();
    try {
      yield* job.events;
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#abort(job);
    }
  }

  #submit(work: Work, caller: string): Job {
    const { state } = this;
    const hopeless = this.#replicas.every((replica) => replica.hopeless || replica.state.kind === "failed");
    // A restart takes about as long as a start, so work may wait for one; not for a first start, and not for children that can't get up.
    if (this.#closed || (state.kind !== "ready" && (!this.#everReady || hopeless))) throw new EverloraError("engine_unavailable", `The engine is not ready: ${"reason" in state ? state.reason : "the gateway is ending"}.`);
    this.#makeRoom(caller);
    const job: Job = { work, caller, events: new Channel(), affinity: this.#replicas.length === 1 ? 0 : affinityOf(work), streaming: false, attempts: 0 };
    this.#queue.push(job);
    this.#pump();
    return job;
  }

  /** @throws EverloraError rate_limited: this caller has taken the others' places, too; overloaded: everybody has */
  #makeRoom(caller: string): void {
    const { settings, metrics } = this.#options;
    const running = this.#replicas.reduce((sum, { busy }) => sum + busy, 0);
    // While a child is started again its share waits, so the sum counts.
    if (running + this.#queue.size < settings.ENGINE_CONCURRENCY * this.#replicas.length + settings.ENGINE_QUEUE) return;
    const words = `The engine works on ${running} answers and ${this.#queue.size} wait for it; ENGINE_REPLICAS=${this.#replicas.length}, ENGINE_CONCURRENCY=${settings.ENGINE_CONCURRENCY} and ENGINE_QUEUE=${settings.ENGINE_QUEUE} allow no more`;
    const displaced = this.#queue.yieldTo(caller);
    if (displaced !== undefined) {
      metrics.engineShed.inc({ reason: "caller" });
      displaced.events.end(new EverloraError("rate_limited", `${words}, and this caller has the most of them waiting.`));
      return;
    }
    const greedy = this.#queue.isGreedy(caller);
    metrics.engineShed.inc({ reason: greedy ? "caller" : "full" });
    throw new EverloraError(greedy ? "rate_limited" : "overloaded", `${words}${greedy ? ", and this caller has the most of them waiting" : ""}.`);
  }

  #onRoom(): void {
    this.#everReady = true;
    this.#pump();
  }

  #pump(): void {
    for (;;) {
      const open = this.#replicas.filter((replica) => replica.open && replica.busy < this.#options.settings.ENGINE_CONCURRENCY);
      const job = open.length === 0 ? undefined : this.#queue.take((each) => this.#fits(each, open).length > 0);
      if (job === undefined) break;
      job.attempts++;
      this.#choose(job, this.#fits(job, open))?.run(job);
    }
    this.#options.metrics.engineQueue.set(this.#queue.size);
    this.#options.metrics.engineReplicas.set(this.#replicas.filter(({ state }) => state.kind === "ready").length);
  }

  /** Those that hold the job's adapter; all of them when nobody does or will: the child says then what is missing. */
  #fits(job: Job, open: readonly Replica[]): readonly Replica[] {
    const generation = generationOf(job.work);
    if (generation === null || !this.#replicas.some((replica) => replica.expects(generation))) return open;
    return open.filter((replica) => replica.holds(generation));
  }

  /** The one that has seen the beginning of this prompt, unless another has clearly less to do. */
  #choose(job: Job, fitting: readonly Replica[]): Replica | undefined {
    const least = Math.min(...fitting.map(({ busy }) => busy));
    const known = this.#replicas[job.affinity % this.#replicas.length];
    if (known !== undefined && fitting.includes(known) && known.busy <= least + 1) return known;
    return fitting.find(({ busy }) => busy === least);
  }

  #abort(job: Job): void {
    if (job.events.ended) return;
    job.events.end();
    if (!this.#replicas.some((replica) => replica.abort(job))) this.#queue.remove(job);
  }

  #onMessage(replica: Replica, message: Exclude<FromChild, { type: "ready" | "fatal" | "stats" | "loaded" | "unloaded" }>): void {
    const job = replica.job(message.id);
    if (job === undefined) return;
    if (message.type === "token") {
      job.streaming = true;
      job.events.push(message);
      return;
    }
    replica.ended(job);
    if (message.type === "failed") job.events.end(errorOf(message.error));
    else {
      if (message.type === "done") {
        this.#options.metrics.inferenceTokens.inc({ kind: "prompt" }, message.promptTokens);
        this.#options.metrics.inferenceTokens.inc({ kind: "completion" }, message.completionTokens);
        this.#options.metrics.inferenceTokens.inc({ kind: "cached" }, message.cachedTokens);
      }
      job.events.push(message);
      job.events.end();
    }
    this.#pump();
  }

  #onDown(replica: Replica, reason: string, hopeless: boolean, jobs: Job[]): void {
    if (replica.state.kind === "restarting") this.#options.metrics.engineRestarts.inc();
    const again: Job[] = [];
    for (const job of jobs) {
      if (job.events.ended) continue;
      if (job.streaming) job.events.end(new EverloraError("engine_unavailable", `The engine stopped in the middle of this answer: ${reason}.`));
      else if (job.attempts >= mostAttempts) job.events.end(new EverloraError("engine_failed", `The engine stopped ${job.attempts} times while it worked on this request: ${reason}.`));
      else again.push(job);
    }
    this.#queue.unshift(again);
    for (const listener of [...this.#downListeners]) listener();
    if (hopeless && this.#replicas.every((each) => each === replica || each.hopeless || each.state.kind === "failed")) {
      for (const job of this.#queue.drain()) job.events.end(new EverloraError("engine_unavailable", `The engine is not ready: ${reason}.`));
    }
    this.#pump();
  }

  /** One child can't take it back: then none shall have it, so that an answer doesn't depend on which child gives it. */
  #onLost(generation: string, error: EverloraError): void {
    for (const replica of this.#replicas) if (replica.expects(generation)) void replica.unload(generation);
    this.#options.onLost?.(generation, error);
  }
}
