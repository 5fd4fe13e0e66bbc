/**
 * Keeps one engine child alive: forks it, parses what it says, starts it again with growing delays when it dies, and ends it.
 * Not responsible for: what the messages mean (engine.ts).
 */
import { fork, type ChildProcess } from "node:child_process";
import { setPriority } from "node:os";
import type { Logger } from "pino";
import { z } from "zod";
import { EverloraError, errorTable, type ErrorCode } from "../../../shared/errors/errors.ts";
import { fromChildSchema, type FromChild, type ToChild } from "./protocol.ts";

export type Ready = Extract<FromChild, { type: "ready" }>;
export type EngineState = { kind: "starting" | "restarting" | "failed" | "closed"; reason: string } | { kind: "ready"; ready: Ready };

/**
 * Less than the gateway's and more than training's (10). The engine's threads keep all cores busy while they decode: a gateway that has to wait for one at each
 * turn answers cache hits late, and reads a new adapter's files late.
 */
const niceness = 5;

export interface SupervisorOptions {
  /** The child's script; tests put a scripted one in its place. */
  readonly script: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  onReady(ready: Ready): void;
  onMessage(message: FromChild): void;
  /** The child is gone, whatever it was doing; called before the next one is started. `hopeless`: it died twice in a row without becoming ready. */
  onDown(reason: string, hopeless: boolean): void;
}

/** A child that lived this long after `ready` has shown that it works; its death counts as the first again. */
const provenMs = 60_000;
const longestDelayMs = 30_000;
const exitGraceMs = 3_000;
/** How often the first start is tried before the gateway gives up. */
const firstStarts = 3;

/**
 * What V8 counts against the heap are the arrays beside it: prompts and adapters that change make tens of megabytes a second, and 3 to 4 times a second it marked the
 * whole heap for them, 30 to 40 ms of processor time. With room in the old generation from the start, of which nothing is reserved, and a young one so small that
 * it is swept before they pile up, once in two seconds.
 */
const unhurriedCollection = ["--initial-old-space-size=512", "--max-semi-space-size=4"];

export class Supervisor {
  readonly #options: SupervisorOptions;
  #state: EngineState = { kind: "starting", reason: "the engine is loading the base model" };
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #readyAt = 0;
  #crashes = 0;
  #deathsBeforeReady = 0;
  #everReady = false;
  #fatal: EverloraError | undefined;
  #started: { resolve(ready: Ready): void; reject(error: EverloraError): void } | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  get state(): EngineState {
    return this.#state;
  }

  /** Pid of the present child, for tests and logs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts the first child.
   * @throws EverloraError the child's own fatal error, or engine_failed when it died three times before it was ready
   */
  async start(): Promise<Ready> {
    return new Promise<Ready>((resolve, reject) => {
      this.#started = { resolve, reject };
      this.#spawn();
    });
  }

  /** False when there is no child to hear it; its end will be told by `onDown`. */
  send(message: ToChild): boolean {
    const child = this.#child;
    if (child === undefined || !child.connected) return false;
    child.send(message, (error) => {
      if (error !== null) this.#options.log.debug({ reason: error.message }, "engine child did not take a message");
    });
    return true;
  }

  /** For a child that hangs: the usual path of a death follows. */
  kill(reason: string): void {
    this.#options.log.error({ reason, pid: this.pid }, "killing the engine child");
    this.#child?.kill("SIGKILL");
  }

  async close(): Promise<void> {
    this.#state = { kind: "closed", reason: "the gateway is ending" };
    clearTimeout(this.#restart);
    this.#started?.reject(new EverloraError("engine_unavailable", "The gateway ended before the engine was ready."));
    this.#started = undefined;
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      const force = setTimeout(() => child.kill("SIGKILL"), exitGraceMs);
      child.once("exit", () => {
        clearTimeout(force);
        resolve();
      });
      if (child.connected) child.disconnect();
      else child.kill("SIGKILL");
    });
  }

  #spawn(): void {
    const child = fork(this.#options.script, [], {
      // Absolute: a bare `--import tsx` is resolved from the working directory, which need not be the checkout.
      execArgv: [...unhurriedCollection, "--import", import.meta.resolve("tsx")],
      env: { ...this.#options.environment },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    yieldTo(child.pid);
    let gone = false;
    const down = (reason: string) => {
      if (gone) return;
      gone = true;
      this.#down(child, reason);
    };
    child.on("message", (raw: unknown) => this.#hear(raw));
    child.once("error", (error) => down(`could not be run: ${error.message}`));
    // `exit`, not `disconnect`: only then are the model's memory and files free for the next child.
    child.once("exit", (code, signal) => down(signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`));
  }

  #hear(raw: unknown): void {
    const parsed = fromChildSchema.safeParse(raw);
    if (!parsed.success) {
      this.#options.log.error({ fault: z.prettifyError(parsed.error) }, "engine child sent what the protocol doesn't know");
      return;
    }
    const message = parsed.data;
    if (message.type === "ready") {
      this.#state = { kind: "ready", ready: message };
      this.#readyAt = Date.now();
      this.#deathsBeforeReady = 0;
      this.#everReady = true;
      this.#fatal = undefined;
      this.#started?.resolve(message);
      this.#started = undefined;
      this.#options.onReady(message);
    } else if (message.type === "fatal") {
      const { code, message: words, hint } = message.error;
      this.#fatal = new EverloraError(knownCode(code), words, { hint });
      // Before `ready` it exits by itself. Later it may still stand there with work that it will never end.
      if (this.#state.kind === "ready") this.kill(words);
    } else this.#options.onMessage(message);
  }

  #down(child: ChildProcess, reason: string): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    if (this.#state.kind === "closed") {
      this.#options.onDown("the gateway is ending", true);
      return;
    }
    const wasReady = this.#state.kind === "ready";
    if (wasReady && Date.now() - this.#readyAt > provenMs) this.#crashes = 0;
    this.#crashes++;
    if (!wasReady) this.#deathsBeforeReady++;
    const words = this.#fatal?.message ?? `the engine process ${reason}`;
    if (!this.#everReady && (this.#fatal !== undefined || this.#deathsBeforeReady >= firstStarts)) {
      this.#state = { kind: "failed", reason: words };
      this.#started?.reject(this.#fatal ?? new EverloraError("engine_failed", `The engine could not be started: ${words}.`));
      this.#started = undefined;
      this.#options.onDown(words, true);
      return;
    }
    const delay = this.#crashes === 1 ? 0 : Math.min(250 * 2 ** (this.#crashes - 2), longestDelayMs);
    this.#state = { kind: this.#everReady ? "restarting" : "starting", reason: `${words}; starting it again` };
    this.#options.log.error({ reason: words, delay }, "engine child is gone; starting it again");
    this.#options.onDown(words, this.#deathsBeforeReady >= 2);
    this.#restart = setTimeout(() => this.#spawn(), delay);
  }
}

/** What the child says went wrong, as one of our errors. */
export function errorOf({ code, message, param, hint }: Extract<FromChild, { type: "failed" }>["error"]): EverloraError {
  return new EverloraError(knownCode(code), message, { ...(param === undefined ? {} : { param }), ...(hint === undefined ? {} : { hint }) });
}

/** A code from another process as one of ours. */
function knownCode(code: string): ErrorCode {
  return Object.hasOwn(errorTable, code) ? (code as ErrorCode) : "engine_failed";
}

function yieldTo(pid: number | undefined): void {
  try {
    if (pid !== undefined) setPriority(pid, niceness);
  } catch {
    // not allowed here: the engine is only less polite
  }
}
