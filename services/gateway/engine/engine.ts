/**
 * The gateway's view of the engine: generate, score, load and unload, over whatever child process is alive just now. Holds the bounded queue,
 * sends what was in flight and had not begun to stream once more when the child dies, and puts the adapters back into the next child.
 * Not responsible for: which adapter answers (adapters/), the child's life (supervisor.ts).
 */
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import { environmentOf, parentEnvironment, type Settings } from "../../../shared/config/settings.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { Message } from "../../../shared/events/conversation.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import { Channel } from "./channel.ts";
import type { FromChild, ToChild } from "./protocol.ts";
import { Residents, type Loaded } from "./residents.ts";
import { knownCode, Supervisor, type EngineState, type Ready } from "./supervisor.ts";

export interface GenerateRequest {
  readonly messages: readonly Message[];
  readonly generation: string | null;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed?: number;
  readonly stop: readonly string[];
}
export type GenerationEvent = Extract<FromChild, { type: "token" | "done" }>;
export type Score = Pick<Extract<FromChild, { type: "scored" }>, "loss" | "tokens">;

export interface EngineOptions {
  readonly settings: Settings;
  readonly log: Logger;
  readonly metrics: Pick<Metrics<"gateway">, "engineRestarts" | "inferenceTokens">;
  /** Another child script, for tests. */
  readonly script?: string;
  /** An adapter that was loaded could not be put into a new child; it is no longer resident. */
  readonly onLost?: (generation: string, error: EverloraError) => void;
}

type Work = Extract<ToChild, { type: "generate" | "score" }>;
interface Job {
  readonly work: Work;
  readonly events: Channel<Extract<FromChild, { type: "token" | "done" | "scored" }>>;
  streaming: boolean;
  attempts: number;
}

const defaultScript = fileURLToPath(new URL("./child.ts", import.meta.url));
const mostAttempts = 2;
/** A child that works on something and says nothing for this long hangs in native code and will not come back by itself. */
const silenceMs = 300_000;

export class Engine {
  readonly #options: EngineOptions;
  readonly #supervisor: Supervisor;
  readonly #residents: Residents;
  readonly #watchdog: NodeJS.Timeout;
  readonly #running = new Map<string, Job>();
  #waiting: Job[] = [];
  #hopeless = false;
  #everReady = false;
  #lastHeard = Date.now();

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#supervisor = new Supervisor({
      script: options.script ?? defaultScript,
      environment: { ...parentEnvironment(), ...environmentOf(options.settings) },
      log: options.log,
      onReady: () => this.#onReady(),
      onMessage: (message) => this.#onMessage(message),
      onDown: (reason, hopeless) => this.#onDown(reason, hopeless),
    });
    this.#residents = new Residents((message) => this.#supervisor.send(message), (generation, error) => options.onLost?.(generation, error));
    this.#watchdog = setInterval(() => this.#checkSilence(), 10_000);
    this.#watchdog.unref();
  }

  /** @throws EverloraError what the child says it can never work with, for example invalid_model_folder */
  async start(): Promise<Ready> {
    return this.#supervisor.start();
  }

  get state(): EngineState {
    return this.#supervisor.state;
  }

  get pid(): number | undefined {
    return this.#supervisor.pid;
  }

  /**
   * The answer, piece by piece; the last event is `done`, unless the signal ended it. Aborting (or leaving the loop) frees the engine.
   * @throws EverloraError engine_unavailable, overloaded, context_length_exceeded, or what else the child reports
   */
  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<GenerationEvent, void, undefined> {
    const { seed, ...rest } = request;
    const job = this.#submit({ ...rest, type: "generate", id: randomUUID(), messages: [...request.messages], stop: [...request.stop], ...(seed === undefined ? {} : { seed }) });
    const abort = () => this.#abort(job);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) abort();
    try {
      for await (const event of job.events) {
        if (event.type === "scored") continue;
        yield event;
        if (event.type === "done") return;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#abort(job);
    }
  }

  /** Mean loss in nats a token of the last message, which is the assistant's. @throws EverloraError as generate */
  async score(messages: readonly Message[], generation: string | null, signal?: AbortSignal): Promise<Score> {
    const job = this.#submit({ type: "score", id: randomUUID(), messages: [...messages], generation });
    const abort = () => this.#abort(job);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) abort();
    try {
      for await (const event of job.events) if (event.type === "scored") return { loss: event.loss, tokens: event.tokens };
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    throw new EverloraError("cancelled", "The scoring was aborted.");
  }

  /** Resolves when the adapter can answer. Loading what is loaded already costs nothing. @throws EverloraError adapter_incompatible, engine_failed, … */
  async load(generation: string, folder: string): Promise<Loaded> {
    return this.#residents.load(generation, folder);
  }

  /** Resolves when its memory is free. */
  async unload(generation: string): Promise<void> {
    await this.#residents.unload(generation);
  }

  async close(): Promise<void> {
    clearInterval(this.#watchdog);
    await this.#supervisor.close();
    this.#onDown("the gateway is ending", true);
  }

  #submit(work: Work): Job {
    const { settings } = this.#options;
    const { state } = this.#supervisor;
    // A restart takes about as long as a start, so work may wait for one; not for a first start, and not for a child that can't get up.
    if (state.kind !== "ready" && (!this.#everReady || this.#hopeless || state.kind === "closed")) throw new EverloraError("engine_unavailable", `The engine is not ready: ${state.reason}.`);
    // While the child is started again all of them wait, so the sum counts.
    if (this.#running.size + this.#waiting.length >= settings.ENGINE_CONCURRENCY + settings.ENGINE_QUEUE) {
      throw new EverloraError("overloaded", `The engine works on ${this.#running.size} answers and ${this.#waiting.length} wait for it; ENGINE_CONCURRENCY=${settings.ENGINE_CONCURRENCY} and ENGINE_QUEUE=${settings.ENGINE_QUEUE} allow no more.`);
    }
    const job: Job = { work, events: new Channel(), streaming: false, attempts: 0 };
    this.#waiting.push(job);
    this.#pump();
    return job;
  }

  #pump(): void {
    while (this.#supervisor.state.kind === "ready" && this.#residents.settled && this.#running.size < this.#options.settings.ENGINE_CONCURRENCY) {
      const job = this.#waiting.shift();
      if (job === undefined) return;
      if (this.#running.size === 0) this.#lastHeard = Date.now();
      job.attempts++;
      this.#running.set(job.work.id, job);
      this.#supervisor.send(job.work); // if there is nobody to hear it, #onDown follows and finds the job in flight
    }
  }

  #abort(job: Job): void {
    if (job.events.ended) return;
    job.events.end();
    // In flight it keeps its place until the child has answered: the child is still busy with it.
    if (this.#running.has(job.work.id)) this.#supervisor.send({ type: "abort", id: job.work.id });
    else this.#waiting = this.#waiting.filter((other) => other !== job);
  }

  #onReady(): void {
    this.#everReady = true;
    this.#hopeless = false;
    this.#lastHeard = Date.now();
    this.#residents.restore(() => this.#pump());
    this.#pump();
  }

  #onMessage(message: FromChild): void {
    this.#lastHeard = Date.now();
    if (message.type === "ready" || message.type === "fatal" || message.type === "stats" || this.#residents.hear(message)) return;
    const job = this.#running.get(message.id);
    if (job === undefined) return;
    if (message.type === "token") {
      job.streaming = true;
      job.events.push(message);
      return;
    }
    this.#running.delete(message.id);
    if (message.type === "failed") job.events.end(new EverloraError(knownCode(message.error.code), message.error.message));
    else if (message.type === "done" || message.type === "scored") {
      if (message.type === "done") {
        this.#options.metrics.inferenceTokens.inc({ kind: "prompt" }, message.promptTokens);
        this.#options.metrics.inferenceTokens.inc({ kind: "completion" }, message.completionTokens);
      }
      job.events.push(message);
      job.events.end();
    }
    this.#pump();
  }

  #onDown(reason: string, hopeless: boolean): void {
    this.#hopeless = hopeless;
    if (this.#supervisor.state.kind === "restarting") this.#options.metrics.engineRestarts.inc();
    const inFlight = [...this.#running.values()];
    this.#running.clear();
    this.#residents.childDied(hopeless);
    const again: Job[] = [];
    for (const job of inFlight) {
      if (job.events.ended) continue;
      if (job.streaming) job.events.end(new EverloraError("engine_unavailable", `The engine stopped in the middle of this answer: ${reason}.`));
      else if (job.attempts >= mostAttempts) job.events.end(new EverloraError("engine_failed", `The engine stopped ${job.attempts} times while it worked on this request: ${reason}.`));
      else again.push(job);
    }
    this.#waiting = [...again, ...this.#waiting];
    if (!hopeless) return;
    for (const job of this.#waiting.splice(0)) job.events.end(new EverloraError("engine_unavailable", `The engine is not ready: ${reason}.`));
  }

  #checkSilence(): void {
    if (this.#running.size > 0 && Date.now() - this.#lastHeard > silenceMs) this.#supervisor.kill(`it works on ${this.#running.size} answers and said nothing for ${silenceMs / 1000} s`);
  }
}
