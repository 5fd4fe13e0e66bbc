/**
 * The Redis server that `up` and `demo` start for themselves: a free port of 127.0.0.1, a password of its own, its files under the data folder.
 * It is started again when it crashes, and dies with its owner, however that ends (redis_keeper.sh).
 */
import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { access, chmod, constants, readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { EverloraError } from "../../shared/errors/errors.ts";
import { writeFileAtomic } from "../../shared/files/atomic.ts";
import { makeFolder } from "../../shared/files/folder.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis } from "../../shared/redis/redis.ts";
import { CrashBudget } from "./crash_budget.ts";
import { freePort } from "./port.ts";
import { readRedisConfig, redisConfig, redisUrl } from "./redis_config.ts";

export interface OwnRedisOptions {
  /** Where its files are; made when missing. */
  readonly folder: string;
  /** PATH of the environment. */
  readonly searchPath: string;
  readonly onRestart: (reason: string) => void;
  readonly onGivenUp: (error: EverloraError) => void;
  readonly budget?: CrashBudget;
}

const programs = ["redis-server", "valkey-server"] as const;
const keeper = fileURLToPath(new URL("./redis_keeper.sh", import.meta.url));
const configName = "redis.conf";

export class OwnRedis {
  readonly #options: OwnRedisOptions;
  readonly #program: string;
  readonly #budget: CrashBudget;
  #url = "";
  #keeper: ChildProcess | undefined;
  #gone: Promise<void> = Promise.resolve();
  #ending = false;

  private constructor(options: OwnRedisOptions, program: string) {
    this.#options = options;
    this.#program = program;
    this.#budget = options.budget ?? new CrashBudget();
  }

  /**
   * Resolves when the server answers, with what earlier runs left in the folder.
   * @throws EverloraError redis_missing, or service_failed with the server's last lines
   */
  static async start(options: OwnRedisOptions): Promise<OwnRedis> {
    const program = await findProgram(options.searchPath);
    await makeFolder(options.folder, 0o700);
    await endLeftover(join(options.folder, configName));
    const redis = new OwnRedis(options, program);
    for (let attempt = 1; ; attempt++) {
      try {
        await redis.#configure();
        await redis.#launch();
        return redis;
      } catch (error) {
        // Somebody took the port between our look and the server's start.
        const portTaken = error instanceof EverloraError && error.message.includes("Address already in use");
        if (!portTaken || attempt === 3) throw error;
      }
    }
  }

  /** With the password: for REDIS_URL of the services, never for a log. */
  get url(): string {
    return this.#url;
  }

  /** Ends the server after it has written its files. */
  async stop(): Promise<void> {
    this.#ending = true;
    const child = this.#keeper;
    if (child === undefined) return;
    child.stdin?.end("end\n");
    const force = setTimeout(() => this.kill(), 10_000);
    await this.#gone;
    clearTimeout(force);
  }

  /** Ends it at once; the append-only file keeps all but the last second. */
  kill(): void {
    this.#ending = true;
    const pid = this.#keeper?.pid;
    if (pid === undefined) return;
    try {
      process.kill(-pid, "SIGKILL"); // the keeper leads a process group: the server goes, too
    } catch {
      // gone already
    }
  }

  async #configure(): Promise<void> {
    const address = { port: await freePort(), password: randomBytes(24).toString("hex") };
    const file = join(this.#options.folder, configName);
    await writeFileAtomic(file, redisConfig(address, this.#options.folder));
    await chmod(file, 0o600);
    this.#url = redisUrl(address);
  }

  async #launch(): Promise<void> {
    const child = spawn("/bin/sh", [keeper, this.#program, join(this.#options.folder, configName)], { detached: true, stdio: ["pipe", "pipe", "pipe"] });
    this.#keeper = child;
    child.stdin.on("error", () => undefined); // it ended before it read; its exit tells
    const lastLines: string[] = [];
    let ready = false;
    this.#gone = new Promise((resolve) => child.once("close", () => resolve()));
    await new Promise<void>((resolve, reject) => {
      const hear = (text: string) => {
        lastLines.push(...text.split("\n").filter((line) => line.trim() !== ""));
        lastLines.splice(0, lastLines.length - 8);
        if (ready || !text.includes("Ready to accept connections")) return;
        ready = true;
        resolve();
      };
      child.stdout.setEncoding("utf8").on("data", hear);
      child.stderr.setEncoding("utf8").on("data", hear);
      child.once("error", reject);
      child.once("close", (code, signal) => {
        this.#keeper = undefined;
        const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
        if (ready) this.#onCrash(how);
        else reject(new EverloraError("service_failed", `${this.#program} ended with ${how}. Its last lines:\n${lastLines.join("\n")}`));
      });
    });
  }

  /** The same port and password again: the services reconnect to what they know. */
  #onCrash(how: string): void {
    if (this.#ending) return;
    const delayMs = this.#budget.crashed();
    if (delayMs === null) {
      this.#options.onGivenUp(new EverloraError("service_failed", `Redis ended with ${how}, ${this.#budget.description}, and is not started again.`));
      return;
    }
    this.#options.onRestart(how);
    setTimeout(() => {
      if (this.#ending) return;
      this.#launch().catch((error: unknown) => this.#onCrash(error instanceof Error ? error.message : String(error)));
    }, delayMs);
  }
}

async function findProgram(searchPath: string): Promise<string> {
  const folders = searchPath.split(delimiter).filter((folder) => folder !== "");
  for (const program of programs) {
    for (const folder of folders) {
      const path = join(folder, program);
      const found = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (found) return path;
    }
  }
  throw new EverloraError("redis_missing", `There is neither ${programs.join(" nor ")} on the PATH.`);
}

/** A server that outlived its owner would write to the same files as ours. It knows the password that we wrote, so it is ours to end. */
async function endLeftover(configFile: string): Promise<void> {
  const address = readRedisConfig(await readFile(configFile, "utf8").catch(() => ""));
  if (address === undefined) return;
  const redis = await openRedis(redisUrl(address), "failFast", silentLogger).catch(() => undefined);
  if (redis === undefined) return;
  const ended = new Promise<void>((resolve) => redis.once("close", () => resolve()));
  redis.shutdown("SAVE").catch(() => undefined); // the answer is a closed connection
  await ended;
  redis.disconnect();
}
