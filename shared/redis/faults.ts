/** Which thrown values mean that Redis is away or refuses to write, as opposed to a defect of ours. */
import { EverloraError } from "../errors/errors.ts";

/** ioredis and BullMQ have no common class for these. */
const away = /^(Connection is closed|Stream isn't writeable|Command timed out|connect E|read E|write E|Reached the max retries|Socket closed)|ECONNREFUSED|ECONNRESET|EPIPE|ENOTFOUND/;
const refuses = /^(OOM|MISCONF|READONLY|LOADING|NOAUTH|WRONGPASS|NOPERM|MASTERDOWN) /;

/** The error as redis_unavailable where it is one; anything else as it came. */
export function explainRedisError(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof EverloraError) return thrown;
  if (away.test(thrown.message) || thrown.name === "MaxRetriesPerRequestError") return new EverloraError("redis_unavailable", "Redis does not answer.", { cause: thrown });
  if (refuses.test(thrown.message)) return new EverloraError("redis_unavailable", `Redis refuses: ${thrown.message}`, { hint: "Look at Redis' log: it is out of memory or disk, read-only, starting, or wants a password.", cause: thrown });
  return thrown;
}
