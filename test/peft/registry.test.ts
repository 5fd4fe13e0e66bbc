import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { sha256 } from "../../shared/events/conversation.ts";
import { createRandom } from "../../shared/models/random.ts";
import { configFile, manifestFile, weightsFile } from "../../shared/peft/manifest.ts";
import { listAdapters, publishAdapter, readLive, verifyAdapter, writeLive, type NewAdapter } from "../../shared/peft/registry.ts";

let root = "";
let loras = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "everlora-registry-"));
});
beforeEach(async () => {
  loras = await mkdtemp(join(root, "loras-"));
});
after(() => rm(root, { recursive: true, force: true }));

const adapter = (changes: Partial<NewAdapter> = {}): NewAdapter => ({
  loras,
  domain: "support",
  config: { r: 4, target_modules: ["q_proj"] },
  weights: Uint8Array.from({ length: 300 }, (_, at) => at % 251),
  base: { name: "toy", sha256: "0".repeat(64) },
  runId: "run-1",
  heldOut: { base: 3, adapter: 2, rows: 5, tokens: 60 },
  ...changes,
});
const corrupted = (message: RegExp) => ({ name: "EverloraError", code: "adapter_corrupted", message });

test("an adapter is named by its content, and verified", async () => {
  const { generation, folder } = await publishAdapter(adapter());
  const [weights, config] = [await readFile(join(folder, weightsFile)), await readFile(join(folder, configFile))];
  assert.equal(generation, sha256(Buffer.concat([weights, config])).slice(0, 12));
  assert.equal(folder, join(loras, "support", generation));
  const manifest = await verifyAdapter(folder);
  assert.deepEqual(manifest.files, { [weightsFile]: sha256(weights), [configFile]: sha256(config) });
  assert.deepEqual((await readdir(folder)).sort(), [configFile, weightsFile, manifestFile].sort());
});

test("the same adapter twice is one folder, untouched; other weights, config or domain are another", async () => {
  const first = await publishAdapter(adapter());
  const manifest = await readFile(join(first.folder, manifestFile), "utf8");
  assert.deepEqual(await publishAdapter(adapter({ runId: "run-2" })), first);
  assert.equal(await readFile(join(first.folder, manifestFile), "utf8"), manifest);
  const others = [await publishAdapter(adapter({ weights: Uint8Array.of(1) })), await publishAdapter(adapter({ config: { r: 5 } })), await publishAdapter(adapter({ domain: "legal" }))];
  assert.equal(new Set([first, ...others].map(({ folder }) => folder)).size, 4);
  assert.equal(others[2]?.generation, first.generation);
});

test("several who store the same adapter at once all succeed", async () => {
  const results = await Promise.all(Array.from({ length: 6 }, () => publishAdapter(adapter())));
  assert.equal(new Set(results.map(({ folder }) => folder)).size, 1);
  await verifyAdapter(results[0]?.folder ?? "");
  assert.deepEqual(await readdir(join(loras, "support")), [results[0]?.generation]);
});

test("a domain that is no name never becomes a path", async () => {
  for (const domain of ["../x", "", "a/b", "UPPER", ".hidden"]) await assert.rejects(publishAdapter(adapter({ domain })), domain);
  for (const domain of ["../x", "a/b"]) {
    await assert.rejects(readLive(loras, domain));
    await assert.rejects(writeLive(loras, domain, { generation: null, reason: "x" }));
  }
  assert.deepEqual(await readdir(loras), []);
});

test("a flipped bit in weights or config is found, at any of 100 places", async () => {
  const { folder } = await publishAdapter(adapter());
  const random = createRandom(1);
  for (let round = 0; round < 100; round++) {
    const name = round % 4 === 3 ? configFile : weightsFile;
    const whole = await readFile(join(folder, name));
    const damaged = Buffer.from(whole);
    const at = Math.floor(random.next() * whole.length);
    damaged[at] = (damaged[at] ?? 0) ^ (1 << Math.floor(random.next() * 8));
    await writeFile(join(folder, name), damaged);
    await assert.rejects(verifyAdapter(folder), corrupted(new RegExp(`${name} has SHA-256`)));
    await writeFile(join(folder, name), whole);
  }
  await verifyAdapter(folder);
});

test("what is missing, cut, unreadable or out of place is named", async () => {
  const { folder, generation } = await publishAdapter(adapter());
  const manifest = JSON.parse(await readFile(join(folder, manifestFile), "utf8")) as Record<string, unknown> & { files: Record<string, string> };
  const withManifest = (value: unknown) => writeFile(join(folder, manifestFile), typeof value === "string" ? value : JSON.stringify(value));
  for (const [value, message] of [
    ["{", /everlora\.json: it is not JSON/],
    ["", /it is not JSON/],
    [{ ...manifest, version: 2 }, /version/],
    [{ ...manifest, files: { ...manifest.files, "../../etc/passwd": "0".repeat(64) } }, /etc\/passwd.*does not belong here/],
    [{ ...manifest, files: { [weightsFile]: manifest.files[weightsFile] } }, /lacks adapter_config\.json/],
    [{ ...manifest, files: {} }, /lacks adapter_model\.safetensors/],
    [{ ...manifest, generation: "0123456789ab" }, new RegExp(`its content is generation ${generation}, not 0123456789ab`)],
  ] as const) {
    await withManifest(value);
    await assert.rejects(verifyAdapter(folder), corrupted(message));
  }
  await withManifest(manifest);
  const elsewhere = join(loras, "support", "0123456789ab");
  await cp(folder, elsewhere, { recursive: true });
  await assert.rejects(verifyAdapter(elsewhere), corrupted(/not 0123456789ab/));
  await verifyAdapter(`${folder}/`);
  await rm(join(folder, weightsFile));
  await assert.rejects(verifyAdapter(folder), corrupted(/adapter_model\.safetensors cannot be read/));
  await rm(join(folder, manifestFile));
  await assert.rejects(verifyAdapter(folder), corrupted(/everlora\.json is missing/));
  await assert.rejects(verifyAdapter(join(loras, "support", "ffffffffffff")), { code: "adapter_not_found" });
});

test("a damaged folder is moved aside when its adapter is stored again", async () => {
  const { folder, generation } = await publishAdapter(adapter());
  await writeFile(join(folder, weightsFile), "torn");
  assert.deepEqual(await publishAdapter(adapter()), { folder, generation });
  await verifyAdapter(folder);
  const names = await readdir(join(loras, "support"));
  assert.equal(names.length, 2);
  const aside = names.find((name) => name !== generation) ?? "";
  assert.ok(aside.startsWith(`.${generation}.damaged-`));
  assert.equal(await readFile(join(loras, "support", aside, weightsFile), "utf8"), "torn");
  assert.deepEqual((await listAdapters(loras)).adapters.map((listed) => listed.generation), [generation]);
});

test("the list: newest first, the live one marked, damaged ones reported, everything else passed over", async () => {
  assert.deepEqual(await listAdapters(join(loras, "nowhere")), { adapters: [], damaged: [] });
  const [one, two, legal] = [await publishAdapter(adapter()), await publishAdapter(adapter({ weights: Uint8Array.of(2) })), await publishAdapter(adapter({ domain: "legal" }))];
  for (const [place, { folder }] of [one, two, legal].entries()) {
    const manifest = JSON.parse(await readFile(join(folder, manifestFile), "utf8")) as object;
    await writeFile(join(folder, manifestFile), JSON.stringify({ ...manifest, createdAt: 1_000 + place }));
  }
  await writeLive(loras, "support", { generation: one.generation, reason: "test" });
  // What crashed writers and people leave: a torn temporary, a half-written folder, other files.
  await mkdir(join(loras, "support", `.${one.generation}.tmp-0123456789ab`));
  await writeFile(join(loras, "support", `.${one.generation}.tmp-0123456789ab`, weightsFile), "part");
  await mkdir(join(loras, "support", "aaaaaaaaaaaa"));
  await writeFile(join(loras, "support", "aaaaaaaaaaaa", weightsFile), "no manifest");
  await mkdir(join(loras, "support", "notes"));
  await mkdir(join(loras, "Not A Domain"));
  await writeFile(join(loras, "README"), "hello");
  const { adapters, damaged } = await listAdapters(loras);
  assert.deepEqual(
    adapters.map(({ domain, generation, live }) => [domain, generation, live]),
    [
      ["legal", legal.generation, false],
      ["support", two.generation, false],
      ["support", one.generation, true],
    ],
  );
  assert.deepEqual(damaged.map(({ domain, generation }) => [domain, generation]), [["support", "aaaaaaaaaaaa"]]);
  assert.match(damaged[0]?.reason ?? "", /everlora\.json is missing/);
});

test("the live pointer: none at first; each change keeps what was before it; the same again changes nothing to go back to", async () => {
  const generations = ["aaaaaaaaaaaa", "bbbbbbbbbbbb"] as const;
  assert.equal(await readLive(loras, "support"), null);
  const at = async (generation: string | null, reason: string) => {
    const written = await writeLive(loras, "support", { generation, reason });
    assert.deepEqual(await readLive(loras, "support"), written);
    return [written.generation, written.previous];
  };
  assert.deepEqual(await at(generations[0], "first"), [generations[0], null]);
  assert.deepEqual(await at(generations[1], "second"), [generations[1], generations[0]]);
  assert.deepEqual(await at(generations[1], "again"), [generations[1], generations[0]]);
  assert.deepEqual(await at(generations[0], "rolled back"), [generations[0], generations[1]]);
  assert.deepEqual(await at(null, "to the base"), [null, generations[0]]);
  assert.equal((await readLive(loras, "legal")), null);
  assert.deepEqual(await readdir(join(loras, "support")), ["live.json"]);
});

test("a damaged pointer is an error to read, and the next change replaces it", async () => {
  await mkdir(join(loras, "support"));
  for (const text of ["", "{", '{"version":1}', '{"version":1,"generation":"../..","previous":null,"since":1,"reason":""}']) {
    await writeFile(join(loras, "support", "live.json"), text);
    await assert.rejects(readLive(loras, "support"), corrupted(/live\.json/));
  }
  const { adapters } = await listAdapters(loras);
  assert.deepEqual(adapters, []);
  assert.equal((await writeLive(loras, "support", { generation: "aaaaaaaaaaaa", reason: "mended" })).previous, null);
  assert.equal((await readLive(loras, "support"))?.generation, "aaaaaaaaaaaa");
});

test("an adapter moved to another machine by its folder alone is still verified", async () => {
  const { folder } = await publishAdapter(adapter());
  const copy = join(root, "mine");
  await rename(folder, copy);
  assert.equal((await verifyAdapter(copy)).domain, "support");
});
