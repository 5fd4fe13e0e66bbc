/** Sharded weights: the index is believed only as far as the files bear it out, and nothing in it leads out of the folder. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { EverloraError } from "../../shared/errors/errors.ts";
import { openModelFolder } from "../../shared/models/folder.ts";
import { createRandom } from "../../shared/models/random.ts";
import { readSafetensors, writeSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";
import { indexFile, parseIndex } from "../../shared/models/weight_files.ts";
import { mutateJson, mutateText } from "../support/mutate.ts";
import { toyConfig, toyWeights, writeToyModel } from "../support/toy_model.ts";

let work = "";
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-shards-"));
});
after(() => rm(work, { recursive: true, force: true }));

interface Index {
  metadata?: Record<string, unknown>;
  weight_map: Record<string, string>;
}
const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;

/** A toy model in two shards with their index. */
async function sharded(change?: (index: Index, tensors: [Map<string, NamedTensor>, Map<string, NamedTensor>]) => void): Promise<string> {
  const folder = await writeToyModel(join(await mkdtemp(join(work, "case-")), "toy"));
  const all = [...toyWeights(toyConfig())];
  const parts: [Map<string, NamedTensor>, Map<string, NamedTensor>] = [new Map(all.slice(0, 5)), new Map(all.slice(5))];
  const index: Index = { metadata: { total_size: 1 }, weight_map: Object.fromEntries(parts.flatMap((part, at) => [...part.keys()].map((name) => [name, shards[at] ?? ""]))) };
  change?.(index, parts);
  await rm(join(folder, "model.safetensors"));
  for (const [at, name] of shards.entries()) await writeFile(join(folder, name), writeSafetensors(parts[at] ?? new Map<string, NamedTensor>(), "F32"));
  await writeFile(join(folder, indexFile), JSON.stringify(index));
  return folder;
}
const fault = (message: RegExp) => ({ name: "EverloraError", code: "invalid_model_folder", message });
const readAll = async (folder: string) => (await openModelFolder(folder)).readWeights();

test("shards are read by their index, in the order of the layout; the index is part of the identity, files that it leaves out are not", async () => {
  const folder = await sharded();
  assert.deepEqual([...(await readAll(folder))], [...toyWeights(toyConfig())]);
  const { sha256 } = await openModelFolder(folder);
  await writeFile(join(folder, "consolidated.safetensors"), "something else");
  assert.equal((await openModelFolder(folder)).sha256, sha256);
  assert.equal((await readAll(folder)).size, toyWeights(toyConfig()).size);
  await writeFile(join(folder, indexFile), `${await readFile(join(folder, indexFile), "utf8")} `);
  assert.notEqual((await openModelFolder(folder)).sha256, sha256);
});

test("one file under its usual name is read alone, whatever else lies there", async () => {
  const folder = await writeToyModel(join(await mkdtemp(join(work, "case-")), "toy"));
  await writeFile(join(folder, "consolidated.safetensors"), "something else");
  assert.equal((await readAll(folder)).size, toyWeights(toyConfig()).size);
});

test("weights come one by one, so that the whole model need not be in memory", async () => {
  const names: string[] = [];
  for await (const [name, { values }] of (await openModelFolder(await sharded())).eachWeight()) {
    assert.ok(values.length > 0);
    names.push(name);
  }
  assert.deepEqual(names.sort(), [...toyWeights(toyConfig()).keys()].sort());
});

const someWeight = "model.layers.1.self_attn.k_proj.weight";
const faults: Record<string, [(index: Index, tensors: [Map<string, NamedTensor>, Map<string, NamedTensor>]) => void, RegExp]> = {
  "a file that is missing": [(index) => (index.weight_map["x"] = "model-00003-of-00003.safetensors"), /model\.safetensors\.index\.json names model-00003-of-00003\.safetensors, which is missing/],
  "a file outside of the folder": [(index) => (index.weight_map["x"] = "../toy/model.safetensors"), /weight_map\.x: must be the name of a \.safetensors file in the same folder/],
  "a file that is no safetensors": [(index) => (index.weight_map["x"] = "config.json"), /must be the name of a \.safetensors file/],
  "a tensor in another file than it says": [(index) => (index.weight_map[someWeight] = shards[0]), /tensor model\.layers\.1\.self_attn\.k_proj\.weight is in model-00002-of-00002\.safetensors, .* says model-00001-of-00002\.safetensors/],
  "a tensor that it does not name": [(index) => Reflect.deleteProperty(index.weight_map, someWeight), /k_proj\.weight is in model-00002-of-00002\.safetensors, .* does not name it/],
  "a tensor that is nowhere": [(_index, [, second]) => second.delete(someWeight), /says that tensor .*k_proj\.weight is in model-00002-of-00002\.safetensors, where it is not/],
  "a tensor that nobody needs": [(index, [first]) => (first.set("x", { shape: [1], values: Float32Array.of(1) }), (index.weight_map["x"] = shards[0])), /1 tensors that config\.json has no place for, the first is x/],
  "no tensor": [(index) => (index.weight_map = {}), /names no tensor/],
  "no map": [(index) => Reflect.deleteProperty(index, "weight_map"), /weight_map: /],
  NaN: [(_index, [, second]) => second.get(someWeight)?.values.set([NaN], 3), /tensor model\.layers\.1\.self_attn\.k_proj\.weight has the value NaN at element 3/],
  infinity: [(_index, [first]) => first.get("model.embed_tokens.weight")?.values.set([-Infinity], 0), /tensor model\.embed_tokens\.weight has the value -Infinity at element 0/],
};
for (const [name, [change, message]] of Object.entries(faults)) {
  test(`refused: ${name}`, async () => {
    const folder = await sharded(change);
    await assert.rejects(readAll(folder), fault(message));
  });
}

test("a name twice, and depths that no index has, are refused before anything is built", () => {
  assert.throws(() => parseIndex('{"weight_map":{"a":"x.safetensors","\\u0061":"y.safetensors"}}'), { code: "invalid_safetensors", message: /names "a" twice/ });
  assert.throws(() => parseIndex("[".repeat(1_000_000)), { code: "invalid_safetensors", message: /nests deeper than 4/ });
});

test("100,000 damaged indexes: file names of the same folder, or an EverloraError", () => {
  const random = createRandom(77);
  const seeds = [{ metadata: { total_size: 12, total_parameters: 3 }, weight_map: { "model.a": "model-00001-of-00002.safetensors", "model.b": "model-00002-of-00002.safetensors" } }, { weight_map: { a: "a.safetensors" } }];
  let accepted = 0;
  for (let round = 0; round < 100_000; round++) {
    let value: unknown = seeds[round % 2];
    for (let times = Math.floor(random.next() * 3); times > 0; times--) value = mutateJson(value, random);
    let text = JSON.stringify(value);
    for (let times = Math.floor(random.next() * 3); times > 0; times--) text = mutateText(text, random);
    try {
      const index = parseIndex(text);
      assert.ok(index.size > 0);
      for (const file of index.values()) assert.match(file, /^[^/\\\0]+\.safetensors$/);
      accepted++;
    } catch (error) {
      assert.ok(error instanceof EverloraError && error.code === "invalid_safetensors" && error.message.length < 2_000, `${text}\n${String(error)}`);
    }
  }
  assert.ok(accepted > 5_000 && accepted < 60_000, `${accepted} accepted`);
});

test("float16, bfloat16 and float32 shards of the golden families are the same tensors as their files say one by one", async () => {
  const golden = new URL("../golden/families/llama2", import.meta.url).pathname;
  const folder = join(work, "llama2");
  await cp(golden, folder, { recursive: true });
  for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) await cp(new URL(`../golden/tokenizers/toy/${file}`, import.meta.url).pathname, join(folder, file));
  const read = await readAll(folder);
  const files = (await readdir(folder)).filter((name) => name.endsWith("-of-00003.safetensors"));
  assert.equal(files.length, 3);
  for (const file of files) for (const [name, tensor] of await readSafetensors(join(folder, file))) assert.deepEqual(read.get(name), tensor, name);
});
