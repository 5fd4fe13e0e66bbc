/** The configuration file of everlora's own Redis: written before each start, read to find a server that a killed `up` left behind. */
import { z } from "zod";

export interface OwnRedisAddress {
  readonly port: number;
  readonly password: string;
}

/** Queue and streams live here: nothing may be evicted, and what was acknowledged a second ago must survive a crash. */
export function redisConfig({ port, password }: OwnRedisAddress, folder: string): string {
  const lines = [
    ["bind", "127.0.0.1"],
    ["port", String(port)],
    ["requirepass", password],
    ["dir", folder],
    ["appendonly", "yes"],
    ["appendfsync", "everysec"],
    // The append-only file has everything; a snapshot at the end would only be one more thing that can fail.
    ["save", ""],
    ["maxmemory-policy", "noeviction"],
    ["daemonize", "no"],
  ] as const;
  return `# Written by everlora at each start; changes are lost.\n${lines.map(([name, value]) => `${name} ${quoted(value)}\n`).join("")}`;
}

/** The address that a configuration of ours names, or undefined when it is none. */
export function readRedisConfig(text: string): OwnRedisAddress | undefined {
  const value = (name: string) => new RegExp(`^${name} "?([^"\\s]+)"?$`, "m").exec(text)?.[1];
  const parsed = z.object({ port: z.coerce.number().int().min(1).max(65_535), password: z.string() }).safeParse({ port: value("port"), password: value("requirepass") });
  return parsed.success ? parsed.data : undefined;
}

export function redisUrl({ port, password }: OwnRedisAddress): string {
  return `redis://:${password}@127.0.0.1:${port}/0`;
}

/** As redis.conf wants a value with spaces or quotes in it. */
function quoted(value: string): string {
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
