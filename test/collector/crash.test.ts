/** The collector as a process that is killed in mid-batch, again and again: in the end everything is there, once. */
import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { projectRoot } from "../../shared/config/settings.ts";
import { rowsPath } from "../../shared/datasets/rows.ts";
import { publish, streams } from "../../shared/events/streams.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import { group } from "../../services/collector/readers/stream.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aboutLaw, allRows, apiKey, foundIn, leaveInCache, newFolder, say, statusOf, until } from "./support.ts";

/** Conversations on the stream, in the cache, and in both. */
const onStream = 900; // many batches: the third victim must not be the one that ends
const inCache = 500;
const both = 150;
const kills = 3;

describe("a collector that is killed", () => {
  let server: TestRedis;
  let redis: Redis;
  let folder: Awaited<ReturnType<typeof newFolder>>;
  let child: ChildProcess | undefined;

  before(async () => {
    server = await startRedis();
    redis = await openRedis(server.url, "failFast", silentLogger);
    folder = await newFolder();
  });
  after(async () => {
    child?.kill("SIGKILL");
    redis.disconnect();
    await server.stop();
    await folder.remove();
  });

  const start = (): ChildProcess =>
    (child = fork(join(projectRoot, "services", "collector", "main.ts"), {
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      env: { PATH: process.env["PATH"], DATA_DIR: folder.path, REDIS_URL: server.url, COLLECTOR_PORT: "0", EVERLORA_API_KEY: apiKey, COLLECT_INTERVAL: "0.2", MIN_EXAMPLES_PER_DOMAIN: "1000000", LOG_LEVEL: "error" },
    }));
  const size = () => stat(rowsPath(join(folder.path, "training_data"), "legal")).then((info) => info.size, () => 0);

  it("loses nothing and doubles nothing", async () => {
    const all = Array.from({ length: onStream + inCache - both }, (_, number) => aboutLaw(number));
    const junk = Array.from({ length: 40 }, (_, number) => say(`junk-${number}`, `Is clause ${number} of my lease contract legal, dear lawyer?`, number % 2 === 0 ? "" : "502 Bad Gateway"));
    for (const conversation of all.slice(0, onStream)) await publish(redis, "conversations", conversation);
    for (const conversation of junk) await publish(redis, "conversations", conversation);
    await leaveInCache(redis, [...all.slice(onStream - both), ...junk]);

    for (let kill = 0; kill < kills; kill++) {
      const before = await size();
      const victim = start();
      const gone = once(victim, "exit");
      // As soon as the first rows of this process are in the file, while it is at work on the next.
      await until(size, (now) => now > before || victim.exitCode !== null, "rows of the victim");
      victim.kill("SIGKILL");
      await gone;
      assert.ok((await size()) > before, "it was killed at work");
    }
    assert.ok((await allRowsTolerant()).length < all.length, "there was work left at the last kill");

    const survivor = start();
    const [{ url }] = (await once(survivor, "message")) as [{ url: string }];
    const status = await until(() => statusOf(url), (now) => foundIn(now) >= all.length + junk.length && now.stream.idle && !now.scanner.scanning, "everything is collected");
    assert.equal(foundIn(status), all.length + junk.length, "every conversation is counted once");
    const dropped = status.domains.map((domain) => domain.dropped);
    assert.equal(dropped.reduce((sum, reasons) => sum + (reasons["empty"] ?? 0), 0), 20);
    assert.equal(dropped.reduce((sum, reasons) => sum + (reasons["error_page"] ?? 0), 0), 20);
    const ids = (await allRowsTolerant()).map((row) => row.conversation);
    assert.equal(ids.length, all.length, "no row twice");
    assert.deepEqual(new Set(ids), new Set(all.map(({ id }) => id)));
    assert.equal(await redis.xlen(streams.conversations.key), 0);
    assert.equal((await redis.xpending(streams.conversations.key, group))[0], 0);

    const ended = once(survivor, "exit");
    survivor.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null], "it ends in order");
  });

  const allRowsTolerant = () => allRows(folder.path, false);
});
