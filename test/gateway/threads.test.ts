/** How many threads an engine gets. */
import assert from "node:assert/strict";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { threadsFor } from "../../services/gateway/engine/threads.ts";

test("a small model is served on one thread unless somebody says otherwise", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "everlora-threads-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const cpu = { provider: "cpu", threads: 4, name: "cpu (4 threads)", reason: "one thread for each of 4 cores" } as const;
  const first = join(folder, "model-00001-of-00002.safetensors");
  await writeFile(first, "");
  await truncate(first, 40 * 2 ** 20);
  assert.deepEqual(threadsFor(cpu, 0, folder), { ...cpu, threads: 1, name: "cpu (1 thread)", reason: "one thread for each of 4 cores; one is enough for a model this small" });
  assert.equal(threadsFor(cpu, 4, folder), cpu, "who asks for four gets four");
  const card = { ...cpu, provider: "webgpu", name: "webgpu" } as const;
  assert.equal(threadsFor(card, 0, folder), card);
  const second = join(folder, "model-00002-of-00002.safetensors");
  await writeFile(second, "");
  await truncate(second, 40 * 2 ** 20);
  assert.equal(threadsFor(cpu, 0, folder), cpu, "all files together are the model");
});
