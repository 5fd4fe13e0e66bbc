/**
 * One engine child and what it is busy with: its adapters, and the jobs that were sent to it and not answered. When the child dies it hands the jobs back.
 * Not responsible for: which job it gets (engine.ts), the child's life (supervisor.ts).
 */
import type { Logger } from "pino";
import type { EverloraError } from "../../../shared/errors/errors.ts";
import type { Job } from "./job.ts";
import type { FromChild } from "./protocol.ts";
import { Residents, type Loaded } from "./residents.ts";
import { Supervisor, type EngineState, type Ready } from "./supervisor.ts";

export interface ReplicaOptions {
  readonly script: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** It may have room for work. */
  onRoom(): void;
  /** An answer to a job of this replica. */
  onMessage(replica: Replica, message: Exclude<FromChild, { type: "ready" | "fatal" | "stats" | "loaded" | "unloaded" }>): void;
  /** What the child keeps has changed. */
  onStats(): void;
  /** The child is gone; `jobs` were in flight. `hopeless`: it died twice in a row without becoming ready. */
  onDown(replica: Replica, reason: string, hopeless: boolean, jobs: Job[]): void;
  /** An adapter that was loaded could not be put into the next child. */
  onLost(this: void, generation: string, error: EverloraError): void;
}

/** A child that works on something and says nothing for this long hangs in native code and will not come back by itself. */
const silenceMs = 300_000;

export class Replica {
  readonly #options: ReplicaOptions;
  readonly #supervisor: Supervisor;
  readonly #residents: Residents;
  readonly #running = new Map<string, Job>();
  #lastHeard = Date.now();
  hopeless = false;
  /** Bytes that the child keeps for prompts that begin the same. */
  prefixBytes = 0;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.#supervisor = new Supervisor({
      script: options.script,
      environment: options.environment,
      log: options.log,
      onReady: () => this.#onReady(),
      onMessage: (message) => this.#onMessage(message),
      onDown: (reason, hopeless) => this.#onDown(reason, hopeless),
    });
    this.#residents = new Residents((message) => this.#supervisor.send(message), options.onLost);
  }

  get state(): EngineState {
    return this.#supervisor.state;
  }

  get pid(): number | undefined {
    return this.#supervisor.pid;
  }

  get busy(): number {
    return this.#running.size;
  }

  /** Takes work now: it is up, and holds again what its predecessor held. */
  get open(): boolean {
    return this.#supervisor.state.kind === "ready" && this.#residents.settled;
  }

  start(): Promise<Ready> {
    return this.#supervisor.start();
  }

  close(): Promise<void> {
    return this.#supervisor.close();
  }

  /** The adapter is in the child. */
  holds(generation: string): boolean {
    return this.#residents.holds(generation);
  }

  /** The adapter is in the child, or will be as soon as it can. */
  expects(generation: string): boolean {
    return this.#residents.expects(generation);
  }

  load(generation: string, folder: string): Promise<Loaded> {
    return this.#residents.load(generation, folder);
  }

  unload(generation: string): Promise<void> {
    return this.#residents.unload(generation);
  }

  run(job: Job): void {
    if (this.#running.size === 0) this.#lastHeard = Date.now();
    this.#running.set(job.work.id, job);
    this.#supervisor.send(job.work); // if there is nobody to hear it, #onDown follows and finds the job in flight
  }

  job(id: string): Job | undefined {
    return this.#running.get(id);
  }

  ended(job: Job): void {
    this.#running.delete(job.work.id);
  }

  /** The job keeps its place until the child has answered: the child is still busy with it. False when it isn't here. */
  abort(job: Job): boolean {
    if (!this.#running.has(job.work.id)) return false;
    this.#supervisor.send({ type: "abort", id: job.work.id });
    return true;
  }

  checkSilence(): void {
    if (this.#running.size > 0 && Date.now() - this.#lastHeard > silenceMs) this.#supervisor.kill(`it works on ${this.#running.size} answers and said nothing for ${silenceMs / 1000} s`);
  }

  #onReady(): void {
    this.hopeless = false;
    this.#lastHeard = Date.now();
    this.#residents.restore(() => this.#options.onRoom());
    this.#options.onRoom();
  }

  #onMessage(message: FromChild): void {
    this.#lastHeard = Date.now();
    if (message.type === "stats") {
      this.prefixBytes = message.prefixBytes;
      this.#options.onStats();
      return;
    }
    if (message.type === "ready" || message.type === "fatal" || this.#residents.hear(message)) return;
    if (message.type !== "loaded" && message.type !== "unloaded") this.#options.onMessage(this, message);
  }

  #onDown(reason: string, hopeless: boolean): void {
    this.hopeless = hopeless;
    this.prefixBytes = 0;
    const jobs = [...this.#running.values()];
    this.#running.clear();
    this.#residents.childDied(hopeless);
    this.#options.onDown(this, reason, hopeless, jobs);
  }
}
