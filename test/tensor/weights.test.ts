import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdtemp, open, readFile, readdir, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { readFully, writeFully } from "../../shared/files/chunks.ts";
import * as tf from "../../shared/models/tfjs.ts";
import { compile } from "../../shared/tensor/compile.ts";
import { mapWeights, placeWeights, type Layout } from "../../shared/tensor/weights.ts";
import { backend } from "./support/both.ts";
import { exampleFunction, exampleShapes, exampleTypes, exampleValues, exampleWeights } from "./support/placed.ts";

let root = "";
let folder = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "everlora-weights-"));
});
beforeEach(async () => {
  folder = await mkdtemp(join(root, "case-"));
});
after(() => rm(root, { recursive: true, force: true }));

const place = (load = async () => exampleWeights(), identity = "identity") => placeWeights(folder, identity, exampleTypes, () => exampleValues(load));
const never = async (): Promise<never> => assert.fail("the weights were loaded again");
const x = Float32Array.of(1, 2, 3, 4, 5, 6);

async function run(weights: () => Readonly<Record<string, tf.Tensor>>): Promise<number[]> {
  const compiled = await compile(backend, [{ shape: [2, 3], dtype: "float32" }], (input) => [exampleFunction(input ?? tf.scalar(0), weights())]);
  try {
    const [result] = await compiled.run([x]);
    return Array.from(result as Float32Array);
  } finally {
    await compiled.close();
  }
}
const fromMemory = () => run(() => Object.fromEntries([...exampleWeights()].map(([name, { values }]) => [name, tf.tensor(values, [...(exampleShapes.get(name) ?? [])])])));
const fromFile = (layout: Layout) => run(() => mapWeights(backend, layout));

test("mapped weights give the same bits as weights in memory, and lie where the layout says, on whole pages", async () => {
  const layout = await place();
  assert.deepEqual(await fromFile(layout), await fromMemory());
  const bytes = await readFile(layout.path);
  for (const [name, { offset, bytes: length }] of layout.tensors) {
    assert.equal(offset % 4096, 0);
    assert.deepEqual(new Float32Array(bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + offset + length)), exampleWeights().get(name)?.values, name);
  }
});

test("what is there is used; another identity has a file of its own", async () => {
  const first = await place();
  assert.equal((await place(never)).path, first.path);
  const other = await place(async () => exampleWeights(), "another");
  assert.notEqual(other.path, first.path);
  assert.equal((await place(never)).path, first.path);
});

for (const [what, damage] of Object.entries({
  truncated: (path: string) => truncate(path, 5_000),
  emptied: (path: string) => writeFile(path, ""),
  "too long": (path: string) => appendFile(path, "x"),
  gone: (path: string) => rm(path),
})) {
  test(`a file that is ${what} is written again`, async () => {
    const { path } = await place();
    const whole = await readFile(path);
    await damage(path);
    const layout = await place();
    assert.deepEqual(await readFile(layout.path), whole);
    assert.deepEqual(await fromFile(layout), await fromMemory());
  });
}

test("a failed load leaves nothing behind, and the next one starts anew", async () => {
  await assert.rejects(place(async () => Promise.reject(new Error("the disk broke"))), /the disk broke/);
  await assert.rejects(place(async () => new Map([...exampleWeights()].slice(1))), /no values for matrix/);
  await assert.rejects(place(async () => exampleWeights().set("bias", { values: new Float32Array(5) })), /bias has 20 bytes, its shape needs 16/);
  const layout = await place();
  assert.deepEqual(await readdir(dirname(layout.path)), ["weights.bin"]);
});

test("what a killed writer left is removed once it is old; that of one at work stays", async () => {
  const { path } = await place();
  const [old, fresh] = [`${path}.tmp-0123456789ab`, `${path}.tmp-ba9876543210`];
  await writeFile(old, "part");
  await writeFile(fresh, "part");
  await utimes(old, new Date(0), new Date(0));
  await truncate(path, 1);
  await place();
  assert.deepEqual((await readdir(dirname(path))).sort(), ["weights.bin", "weights.bin.tmp-ba9876543210"]);
});

test("two processes that place the same weights at once end with one file, one graph, and the same result", async () => {
  const script = fileURLToPath(new URL("support/place_child.ts", import.meta.url));
  const children = [0, 1].map(() => fork(script, [folder], { execArgv: ["--import", "tsx"] }));
  const ended = children.map((child) => once(child, "exit"));
  try {
    const loading = children.map((child) => once(child, "message"));
    for (const [message] of await Promise.all(loading)) assert.deepEqual(message, { type: "loading" });
    const results = children.map((child) => once(child, "message"));
    for (const child of children) child.send("go");
    const expected = await fromMemory();
    for (const [message] of await Promise.all(results)) assert.deepEqual(message, { type: "result", values: expected });
    assert.deepEqual(await Promise.all(ended), [[0, null], [0, null]]);
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
  const layout = await place(never);
  const names = await readdir(dirname(layout.path));
  // The graph's name is the hash of its bytes: both processes, and this one, made the same.
  assert.equal(names.length, 2, names.join(" "));
  assert.deepEqual(await fromFile(layout), await fromMemory());
  assert.deepEqual((await readdir(dirname(layout.path))).sort(), names.sort());
});

test("a lazy read of mapped weights takes them from the file, wherever the process stands", async () => {
  const weights = mapWeights(backend, await place());
  await tf.setBackend("onnx");
  for (const [name, { values }] of exampleWeights()) {
    const weight = weights[name] ?? tf.scalar(0);
    assert.deepEqual(weight.dataSync(), values);
    assert.deepEqual(await tf.add(weight, 1).data(), values.map((value) => Math.fround(value + 1)));
  }
});

test("weights of two folders can't be in one function", async () => {
  const [first, second] = [await place(), await place(async () => exampleWeights(), "another")];
  await assert.rejects(run(() => ({ ...mapWeights(backend, first), bias: mapWeights(backend, second)["bias"] ?? tf.scalar(0) })), /one folder/);
});

test("reads and writes larger than one call move every byte", async () => {
  const data = Uint8Array.from({ length: 1_000 }, (_, at) => at % 251);
  const file = await open(join(folder, "chunks"), "w+");
  try {
    await writeFully(file, data, 7, 64);
    const back = new Uint8Array(1_000);
    assert.equal(await readFully(file, back, 7, 33), 1_000);
    assert.deepEqual(back, data);
    assert.equal(await readFully(file, new Uint8Array(50), 990, 16), 17);
  } finally {
    await file.close();
  }
});
