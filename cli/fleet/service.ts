/**
 * One service as a process of its own: started, watched, started again when it crashes, ended. Not responsible for the order among services
 * (fleet.ts) nor for how their log is shown.
 */
import { fork, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { z } from "zod";
import { readyMessageSchema, type ReadyMessage } from "../../shared/config/lifecycle.ts";
import { EverloraError, errorTable, type ErrorCode } from "../../shared/errors/errors.ts";
import { CrashBudget } from "./crash_budget.ts";

export interface ServiceOptions {
  readonly name: string;
  /** Path of the script to fork. */
  readonly script: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Each line that it writes to stdout (JSON, usually) or stderr (a crash's stack, usually). */
  readonly onLine: (line: string, from: "stdout" | "stderr") => void;
  /** It crashed and will be started again in `delayMs`. */
  readonly onRestart: (reason: string, delayMs: number) => void;
  /** It was ready before, crashed, and is not started any more. */
  readonly onGivenUp: (error: EverloraError) => void;
  readonly budget?: CrashBudget;
  /** How long it may take to end after SIGTERM. The services' own limit is 20 s. */
  readonly graceMs?: number;
}

const fatalLineSchema = z.object({ level: z.literal("fatal"), msg: z.string(), code: z.string().optional(), hint: z.string().optional(), param: z.string().optional() });
type FatalLine = z.infer<typeof fatalLineSchema>;

/** Exit code by which a service says that its settings are bad: to start it again would change nothing. */
const badSettings = 2;

export class SupervisedService {
  readonly #options: ServiceOptions;
  readonly #budget: CrashBudget;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #restart: NodeJS.Timeout | undefined;
  #ending = false;
  #ready: ReadyMessage | undefined;
  #lastFatal: FatalLine | undefined;
  #resolveStart: (ready: ReadyMessage) => void = () => undefined;
  #rejectStart: (error: EverloraError) => void = () => undefined;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#budget = options.budget ?? new CrashBudget();
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** What it told last when it became ready. */
  get ready(): ReadyMessage | undefined {
    return this.#ready;
  }

  /**
   * Resolves when it is ready for the first time.
   * @throws EverloraError what the service itself said when it can never start, service_failed when it crashed too often, cancelled by `stop`
   */
  start(): Promise<ReadyMessage> {
    return new Promise((resolve, reject) => {
      this.#resolveStart = resolve;
      this.#rejectStart = reject;
      this.#launch();
    });
  }

  /** SIGTERM, and SIGKILL when that takes too long. Resolves when the process is gone. */
  async stop(): Promise<void> {
    this.#cease();
    const child = this.#child;
    if (child === undefined) return;
    child.kill("SIGTERM");
    const force = setTimeout(() => child.kill("SIGKILL"), this.#options.graceMs ?? 25_000);
    await this.#ended;
    clearTimeout(force);
  }

  /** Ends it at once, without any order. */
  kill(): void {
    this.#cease();
    this.#child?.kill("SIGKILL");
  }

  #cease(): void {
    this.#ending = true;
    clearTimeout(this.#restart);
    this.#rejectStart(new EverloraError("cancelled", `${this.name} was stopped before it was ready.`));
  }

  #launch(): void {
    this.#lastFatal = undefined;
    // A process group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then ends the services in order.
    const child = fork(this.#options.script, [], { detached: true, env: this.#options.environment, execArgv: [...process.execArgv], stdio: ["ignore", "pipe", "pipe", "ipc"] });
    this.#child = child;
    const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
    this.#ended = new Promise((resolve) => {
      child.once("error", (error) => {
        if (child.pid !== undefined) return; // a failed kill or send; the exit tells the rest
        this.#onExit(error.message, undefined);
        resolve();
      });
      child.once("exit", (code, signal) => {
        this.#child = undefined;
        // The last lines may still be in the pipe; a grandchild that holds it open must not hold us up.
        void Promise.race([closed, delay(1_000)]).then(() => {
          this.#onExit(signal === null ? `exit code ${code}` : `signal ${signal}`, code ?? undefined);
          resolve();
        });
      });
    });
    child.on("message", (message: unknown) => this.#onMessage(message));
    this.#readLines(child.stdout, "stdout");
    this.#readLines(child.stderr, "stderr");
  }

  #readLines(stream: NodeJS.ReadableStream | null, from: "stdout" | "stderr"): void {
    if (stream === null) return;
    createInterface({ input: stream }).on("line", (line) => {
      const fatal = from === "stdout" && line.includes('"fatal"') ? fatalLineSchema.safeParse(parseJson(line)) : undefined;
      if (fatal?.success === true) this.#lastFatal = fatal.data;
      this.#options.onLine(line, from);
    });
  }

  #onMessage(message: unknown): void {
    const parsed = readyMessageSchema.safeParse(message);
    if (!parsed.success) return;
    this.#ready = parsed.data;
    this.#resolveStart(parsed.data);
  }

  #onExit(how: string, code: number | undefined): void {
    if (this.#ending) return;
    const error = this.#errorOf(how);
    // A port in use or a broken model folder at the first start is the person's to mend; later it may pass.
    const hopeless = code === badSettings || (this.#ready === undefined && this.#lastFatal?.code !== undefined && !error.retryable && error.code !== "service_failed");
    const delayMs = hopeless ? null : this.#budget.crashed();
    if (delayMs !== null) {
      this.#options.onRestart(how, delayMs);
      this.#restart = setTimeout(() => this.#launch(), delayMs);
      return;
    }
    const final = hopeless || error.code !== "service_failed" ? error : new EverloraError("service_failed", `${this.name} ended with ${how}, ${this.#budget.description}, and is not started again.`);
    this.#ending = true;
    if (this.#ready === undefined) this.#rejectStart(final);
    else this.#options.onGivenUp(final);
  }

  /** The service's own last words where it had some. */
  #errorOf(how: string): EverloraError {
    const fatal = this.#lastFatal;
    if (fatal?.code === undefined || !isErrorCode(fatal.code)) return new EverloraError("service_failed", `${this.name} ended with ${how}${fatal === undefined ? "" : `: ${fatal.msg}`}.`);
    return new EverloraError(fatal.code, `${this.name}: ${fatal.msg}`, { ...(fatal.hint === undefined ? {} : { hint: fatal.hint }), ...(fatal.param === undefined ? {} : { param: fatal.param }) });
  }
}

const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref());

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorTable, code);

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
