/** Starts an own Redis in the folder that is named, sends its URL, and waits to be killed. */
import { OwnRedis } from "../../cli/fleet/own_redis.ts";
import { parentEnvironment } from "../../shared/config/settings.ts";

const redis = await OwnRedis.start({ folder: process.argv[2] ?? "", searchPath: parentEnvironment()["PATH"] ?? "", onRestart: () => undefined, onGivenUp: () => undefined });
process.send?.(redis.url);
setInterval(() => undefined, 1_000);
