import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { enqueueFineTune } from "../../shared/events/queues.ts";
import { readLive } from "../../shared/peft/registry.ts";
import { startRedis } from "../support/redis.ts";
import { Bench } from "./support/bench.ts";

const run = promisify(execFile);

/** Writes until the disk takes no more. */
async function fill(path: string): Promise<void> {
  const handle = await open(path, "w");
  try {
    for (;;) await handle.write(Buffer.alloc(4_096, 1));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
  } finally {
    await handle.close();
  }
}

test("a disk that fills up in mid-run fails the run by that name; with room again the next one ends well", async (t) => {
  const mount = await mkdtemp(join(tmpdir(), "everlora-full-"));
  t.after(() => rm(mount, { recursive: true, force: true }));
  try {
    await run("mount", ["-t", "tmpfs", "-o", "size=8m", "everlora-test", mount]);
  } catch {
    t.skip("no small disk to fill: mounting a tmpfs needs root");
    return;
  }
  const redis = await startRedis();
  const on = await Bench.open(redis.url, { waitAfterStep: 2 }, { DATA_DIR: mount });
  try {
    await on.rows("technical", 20);
    await on.trainer();
    const { runId } = await enqueueFineTune(on.queue, { domain: "technical", reason: "manual" });
    await on.stepsOf(runId, 2);
    await fill(join(mount, "ballast"));
    await on.go();
    const failed = await on.runIn(runId, "failed", "published");
    assert.equal(failed.state, "failed");
    assert.equal(failed.error?.code, "disk_full");
    assert.equal(failed.attempt, 1);
    assert.equal(await readLive(on.paths.loras, "technical"), null);

    await rm(join(mount, "ballast"));
    const second = await enqueueFineTune(on.queue, { domain: "technical", reason: "manual" });
    const ended = await on.runIn(second.runId, "failed", "published");
    assert.equal(ended.state, "published", ended.error?.message ?? "");
  } finally {
    await on.closeServices();
    await run("umount", ["--lazy", mount]); // a child that was killed may still hold a file
    await on.close();
    await redis.stop();
  }
});
