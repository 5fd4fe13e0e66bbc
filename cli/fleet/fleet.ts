/**
 * All of everlora on this machine: its own Redis where none is given, and the four services, each a process. Started together, ended in order:
 * first who takes requests, then who works on them, Redis last. Not responsible for signals, locks, or what is printed.
 */
import { join } from "node:path";
import { pathsOf } from "../../shared/config/paths.ts";
import { environmentOf, parentEnvironment, projectRoot, type Settings } from "../../shared/config/settings.ts";
import { EverloraError, toEverloraError } from "../../shared/errors/errors.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, requireNoEviction } from "../../shared/redis/redis.ts";
import { OwnRedis } from "./own_redis.ts";
import { SupervisedService } from "./service.ts";

/** In the order in which they are ended. */
export const serviceNames = ["gateway", "collector", "trainer", "control"] as const;
export type ServiceName = (typeof serviceNames)[number];

export interface FleetOptions {
  readonly settings: Settings;
  readonly onLine: (service: string, line: string, from: "stdout" | "stderr") => void;
  /** Something crashed and is started again. */
  readonly onRestart: (service: string, reason: string) => void;
  /** Something can't be kept running: the fleet is of no use any more and wants to be stopped. */
  readonly onFailure: (error: EverloraError) => void;
  /** Other scripts, for tests. */
  readonly scripts?: Readonly<Record<ServiceName, string>>;
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #services = new Map<ServiceName, SupervisedService>();
  #redis: OwnRedis | undefined;
  #redisStart: Promise<OwnRedis> | undefined;
  #redisUrl = "";
  #stopping = false;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** With credentials. */
  get redisUrl(): string {
    return this.#redisUrl;
  }

  get ownsRedis(): boolean {
    return this.#redis !== undefined;
  }

  /** Of a service that is ready. @throws EverloraError service_failed when it is not */
  url(name: ServiceName): string {
    const url = this.#services.get(name)?.ready?.url;
    if (url === undefined) throw new EverloraError("service_failed", `${name} is not ready.`);
    return url;
  }

  /** What the services said about themselves when they became ready. */
  details(): Readonly<Record<string, string>> {
    const all: Record<string, string> = {};
    for (const service of this.#services.values()) Object.assign(all, service.ready?.details);
    return all;
  }

  pids(): Partial<Record<ServiceName, number>> {
    return Object.fromEntries([...this.#services].flatMap(([name, { pid }]) => (pid === undefined ? [] : [[name, pid]])));
  }

  /**
   * Resolves when everything is ready. After a rejection `stop` must still be called.
   * @throws EverloraError what keeps it from starting
   */
  async start(): Promise<void> {
    const { settings } = this.#options;
    this.#redisUrl = settings.REDIS_URL ?? (await this.#startRedis());
    if (settings.REDIS_URL !== undefined) await checkRedis(settings.REDIS_URL);
    if (settings.CACHE_REDIS_URL !== undefined) (await openRedis(settings.CACHE_REDIS_URL, "failFast", silentLogger, "CACHE_REDIS_URL")).disconnect();
    if (this.#stopping) return;
    const environment = { ...parentEnvironment(), ...environmentOf({ ...settings, REDIS_URL: this.#redisUrl }) };
    for (const name of serviceNames) {
      this.#services.set(
        name,
        new SupervisedService({
          name,
          script: this.#options.scripts?.[name] ?? join(projectRoot, "services", name, "main.ts"),
          environment,
          onLine: (line, from) => this.#options.onLine(name, line, from),
          onRestart: (reason, delayMs) => this.#options.onRestart(name, `${reason}; starting it again in ${delayMs} ms`),
          onGivenUp: (error) => this.#options.onFailure(error),
        }),
      );
    }
    await Promise.all([...this.#services.values()].map((service) => service.start()));
  }

  /** Ends the services one after the other, then Redis. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const name of serviceNames) await this.#services.get(name)?.stop();
    const redis = await this.#redisStart?.catch(() => undefined); // it may be starting just now
    await redis?.stop();
  }

  /** Ends everything at once. */
  kill(): void {
    this.#stopping = true;
    for (const service of this.#services.values()) service.kill();
    this.#redis?.kill();
  }

  async #startRedis(): Promise<string> {
    this.#redisStart = OwnRedis.start({
      folder: join(pathsOf(this.#options.settings).state, "redis"),
      searchPath: parentEnvironment()["PATH"] ?? "",
      onRestart: (reason) => this.#options.onRestart("redis", `${reason}; starting it again`),
      onGivenUp: (error) => this.#options.onFailure(error),
    });
    this.#redis = await this.#redisStart;
    return this.#redis.url;
  }
}

/** Says at once, and once, what each of the four services would say after its start. */
async function checkRedis(url: string): Promise<void> {
  const redis = await openRedis(url, "failFast", silentLogger);
  try {
    await requireNoEviction(redis, silentLogger);
  } catch (error) {
    throw toEverloraError(error);
  } finally {
    redis.disconnect();
  }
}
