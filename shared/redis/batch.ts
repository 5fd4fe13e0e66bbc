/**
 * Commands that go to Redis in one write: one after the other, or all of them in MULTI and EXEC. In place of ioredis' pipelines where a thousand are sent a
 * second: these define an accessor on each object, whose hidden class keeps the next one in memory, so that each pipeline, and the request that it
 * serves, outlives the young generation (test/bench/LOG.md). Not responsible for: clusters.
 */
import { Command, type Redis } from "./redis.ts";

export type Argument = string | number | Buffer;
/** What one command gave: its error or null, and its reply, texts as UTF-8. */
export type Reply = readonly [error: Error | null, reply: unknown];

export class Batch {
  readonly #commands: { readonly name: string; readonly args: readonly Argument[] }[] = [];

  get length(): number {
    return this.#commands.length;
  }

  add(name: string, ...args: readonly Argument[]): this {
    this.#commands.push({ name, args });
    return this;
  }

  /** Each command for itself. Never throws: a connection that is gone is every command's error. */
  async send(redis: Redis): Promise<Reply[]> {
    return Promise.all(this.#write(redis, false));
  }

  /** All of them or none. @returns the replies of the commands alone @throws when the transaction was not executed */
  async transact(redis: Redis): Promise<Reply[]> {
    const replies = await Promise.all(this.#write(redis, true));
    const [fault, results] = replies.at(-1) ?? [null, null];
    if (fault !== null) throw fault;
    if (!Array.isArray(results)) throw new Error("the transaction was not executed");
    return results.map((result: unknown): Reply => (result instanceof Error ? [result, null] : [null, result]));
  }

  #write(redis: Redis, asOne: boolean): Promise<Reply>[] {
    // Undefined while there is no connection.
    const stream = redis.stream as Redis["stream"] | undefined;
    const send = (name: string, args: readonly Argument[], inside = false): Promise<Reply> => {
      const command = new Command(name, [...args], { replyEncoding: "utf8" });
      // What is left of a transaction when the connection breaks must not be sent again by itself.
      command.inTransaction = inside;
      return Promise.resolve(redis.sendCommand(command)).then(
        (reply): Reply => [null, reply],
        (error: unknown): Reply => [error instanceof Error ? error : new Error(String(error)), null],
      );
    };
    stream?.cork();
    try {
      if (!asOne) return this.#commands.map(({ name, args }) => send(name, args));
      return [send("multi", []), ...this.#commands.map(({ name, args }) => send(name, args, true)), send("exec", [])];
    } finally {
      stream?.uncork();
    }
  }
}
