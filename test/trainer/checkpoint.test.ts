import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, open, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { promisify } from "node:util";
import { encodeCheckpoint, openCheckpoints, type CheckpointOptions } from "../../services/trainer/run/checkpoint.ts";
import type { FinetuneState } from "../../shared/engine/progress.ts";
import { checkpointFile } from "../../shared/runs/run.ts";

const run = promisify(execFile);
const identity = { "base model": "a".repeat(64), "data set": "b".repeat(64), settings: '{"rank":4}', runtime: "1.2.3" };

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "everlora-checkpoint-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function state(steps: number, bestStep: number | null = 2): FinetuneState {
  const array = (from: number) => Float32Array.from({ length: 9 }, (_, at) => from + at / 7);
  const optimiser = { steps, values: array(1), first: array(-2), second: Float32Array.of(0, -0, 1e-45, 3.4e38, 1, 2, 3, 4, 5) };
  return { optimiser, evaluations: [{ step: 2, epoch: 0.5, loss: 1.25 }], best: bestStep === null ? null : { step: bestStep, values: bestStep === steps ? optimiser.values : array(7) }, losses: { first: 3, last: 1 } };
}

function opened(path: string, options: Partial<CheckpointOptions> = {}) {
  const lines: string[] = [];
  const checkpoints = openCheckpoints(path, { seconds: 0, steps: 1, spareBytes: 0, log: (level, message) => lines.push(`${level}: ${message}`), ...options });
  return { checkpoints, lines };
}

test("what was written comes back to the last bit, whether the best adapter is the last, another, or none", async (t) => {
  for (const bestStep of [5, 2, null]) {
    const path = await folder(t);
    await opened(path).checkpoints.offer(identity, () => state(5, bestStep));
    assert.deepEqual(await readdir(path), [checkpointFile]);
    const { checkpoints, lines } = opened(path);
    assert.deepEqual(await checkpoints.load(identity), state(5, bestStep));
    assert.deepEqual(lines, []);
  }
});

test("none there: null, and not a word", async (t) => {
  const { checkpoints, lines } = opened(await folder(t));
  assert.equal(await checkpoints.load(identity), null);
  assert.deepEqual(lines, []);
});

test("a checkpoint of another base, data set, setting or runtime is named, left aside and removed", async (t) => {
  const path = await folder(t);
  for (const [name, changed] of [...Object.keys(identity).map((key) => [key, { ...identity, [key]: "other" }] as const), ["starting point", { ...identity, "starting point": "new" }] as const]) {
    await opened(path).checkpoints.offer(identity, () => state(3));
    const { checkpoints, lines } = opened(path);
    assert.equal(await checkpoints.load(changed), null);
    assert.deepEqual(lines, [`warn: The checkpoint is not used, the training begins at step 1: it belongs to another ${name}`]);
    assert.deepEqual(await readdir(path), []);
  }
});

test("a damaged checkpoint is refused wherever it is damaged: any byte of it, and any shorter length", async (t) => {
  const path = await folder(t);
  const file = join(path, checkpointFile);
  const whole = encodeCheckpoint(identity, state(3));
  const refused = async (bytes: Uint8Array) => {
    await writeFile(file, bytes);
    const { checkpoints, lines } = opened(path);
    const loaded = await checkpoints.load(identity);
    if (loaded !== null) return loaded;
    assert.equal(lines.length, 1);
    return null;
  };
  for (let at = 0; at < whole.length; at += 3) {
    const bytes = Uint8Array.from(whole);
    bytes[at] = (bytes[at] ?? 0) ^ 0x11;
    assert.equal(await refused(bytes), null, `byte ${at}`);
  }
  for (let length = 0; length < whole.length; length += 11) assert.equal(await refused(whole.subarray(0, length)), null, `${length} bytes`);
  await writeFile(file, whole);
  await truncate(file, 2 ** 20);
  assert.equal(await opened(path).checkpoints.load(identity), null);
});

test("it is written when it is time: every so many steps, counted from the one gone on from, or not at all", async (t) => {
  const path = await folder(t);
  const file = join(path, checkpointFile);
  const written = async (options: Partial<CheckpointOptions>, from: number, to: number) => {
    const { checkpoints } = opened(path, options);
    await checkpoints.load(identity);
    const at: number[] = [];
    for (let step = from; step <= to; step++) {
      const before = await readFile(file).catch(() => null);
      await checkpoints.offer(identity, () => state(step));
      const after = await readFile(file).catch(() => null);
      if (after !== null && !(before?.equals(after) ?? false)) at.push(step);
    }
    return at;
  };
  assert.deepEqual(await written({ steps: 0, seconds: 0 }, 1, 9), []);
  assert.deepEqual(await written({ steps: 4 }, 1, 9), [4, 8]);
  assert.deepEqual(await written({ steps: 4 }, 9, 17), [12, 16]);
  assert.deepEqual(await written({ steps: 0, seconds: 86_400 }, 17, 20), []);
  assert.deepEqual(await written({ steps: 0, seconds: 1e-6 }, 17, 19), [17, 18, 19]);
});

test("a full disk costs the checkpoint and one line, not the training; the last one stays", async (t) => {
  const mount = await folder(t);
  try {
    await run("mount", ["-t", "tmpfs", "-o", "size=64k", "everlora-test", mount]);
  } catch {
    t.skip("no small disk to fill: mounting a tmpfs needs root");
    return;
  }
  try {
    const { checkpoints, lines } = opened(mount);
    await checkpoints.offer(identity, () => state(1));
    const ballast = await open(join(mount, "ballast"), "w");
    try {
      for (;;) await ballast.write(Buffer.alloc(1_024, 1));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
    } finally {
      await ballast.close();
    }
    for (const step of [2, 3]) await checkpoints.offer(identity, () => state(step));
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /^warn: No checkpoint was written at step 2; the training goes on: The disk of .* has 0 MB free/);
    assert.deepEqual((await readdir(mount)).sort(), ["ballast", checkpointFile]);
    assert.equal((await opened(mount).checkpoints.load(identity))?.optimiser.steps, 1);
    await rm(join(mount, "ballast"));
    await checkpoints.offer(identity, () => state(4));
    assert.equal((await opened(mount).checkpoints.load(identity))?.optimiser.steps, 4);
  } finally {
    await run("umount", [mount]);
  }
});

test("room that the run must leave is left: a checkpoint that would take it is not written", async (t) => {
  const path = await folder(t);
  const { checkpoints, lines } = opened(path, { spareBytes: 2 ** 60 });
  await checkpoints.offer(identity, () => state(1));
  assert.deepEqual(await readdir(path), []);
  assert.match(lines[0] ?? "", /needs .* MB/);
});
