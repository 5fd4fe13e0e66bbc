import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { loadApiKey } from "../../shared/http/auth.ts";

let root = "";
let file = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "everlora-key-"));
});
beforeEach(async () => {
  file = join(await mkdtemp(join(root, "case-")), "state", "api-key");
});
after(() => rm(root, { recursive: true, force: true }));

test("a key from the settings is used, and nothing is written", async () => {
  assert.deepEqual(await loadApiKey("given-0123456789abcdef", file), { apiKey: "given-0123456789abcdef", created: false });
  await assert.rejects(stat(file));
});

test("without one a key is made once, in a file that only its owner reads, and found from then on", async () => {
  const first = await loadApiKey(undefined, file);
  assert.ok(first.created);
  assert.match(first.apiKey, /^everlora_[\w-]{32}$/);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.deepEqual(await loadApiKey(undefined, file), { apiKey: first.apiKey, created: false });
  assert.equal((await readFile(file, "utf8")).trim(), first.apiKey);
});

test("of ten that start at once one makes the key, and all have the same", async () => {
  const keys = await Promise.all(Array.from({ length: 10 }, () => loadApiKey(undefined, file)));
  assert.equal(keys.filter(({ created }) => created).length, 1);
  assert.equal(new Set(keys.map(({ apiKey }) => apiKey)).size, 1);
  assert.deepEqual(await readdir(join(file, "..")), ["api-key"]);
});

test("a file without a key is named with what to do", async () => {
  await loadApiKey(undefined, file);
  await writeFile(file, "\n");
  await assert.rejects(loadApiKey(undefined, file), { code: "invalid_settings", message: /api-key is there, but has no key/, hint: /Delete the file/ });
  assert.deepEqual(await readdir(join(file, "..")), ["api-key"]);
});
