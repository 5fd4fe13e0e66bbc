import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { EverloraError } from "../../shared/errors/errors.ts";
import { createRandom, type Random } from "../../shared/models/random.ts";
import { parseHeader, readSafetensors, readSafetensorsSync, writeSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";

let folder = "";
let path = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-safetensors-"));
  path = join(folder, "x.safetensors");
});
after(() => rm(folder, { recursive: true, force: true }));

/** A file of these parts. @param claimed header length; default: the truth */
function fileOf(header: string | Uint8Array, data: Uint8Array = new Uint8Array(), claimed?: bigint): Buffer {
  const bytes = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(claimed ?? BigInt(bytes.length));
  return Buffer.concat([length, bytes, data]);
}
const read = async (bytes: Uint8Array) => {
  await writeFile(path, bytes);
  const [one, other] = await Promise.allSettled([readSafetensors(path), Promise.resolve().then(() => readSafetensorsSync(path))]);
  assert.deepEqual(other, one); // at one go the same comes out, faults included
  if (one.status === "rejected") throw one.reason;
  return one.value;
};
const entry = (dtype: string, shape: readonly number[], from: number, to: number) => ({ dtype, shape, data_offsets: [from, to] });
const refused = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EverloraError, String(error));
  assert.equal(error.code, "invalid_safetensors");
  assert.ok(error.message.startsWith(path) || !error.message.includes("x.safetensors"));
  assert.match(error.message, message);
  return true;
};

const tensors = new Map<string, NamedTensor>([
  ["model.embed_tokens.weight", { shape: [2, 3], values: Float32Array.of(1, -2.5, 0.5, 65_504, -0, 2 ** -24) }],
  ["scalar", { shape: [], values: Float32Array.of(0.25) }],
  ["empty", { shape: [0, 4], values: new Float32Array(0) }],
  ["__proto__", { shape: [1], values: Float32Array.of(7) }],
  ["constructor", { shape: [1], values: Float32Array.of(8) }],
  ["12", { shape: [2], values: Float32Array.of(9, 10) }],
  ["ação 🙂", { shape: [1], values: Float32Array.of(11) }],
]);

for (const dtype of ["F32", "F16"] as const) {
  test(`what is written as ${dtype} is read again: names, shapes, values`, async () => {
    const bytes = writeSafetensors(tensors, dtype, { format: "pt", note: "x" });
    const back = await read(bytes);
    assert.deepEqual([...back.keys()].sort(), [...tensors.keys()].sort());
    for (const [name, tensor] of tensors) assert.deepEqual(back.get(name), tensor, name);
  });
}

test("the header is padded to 8 bytes with spaces, and says what the format says", () => {
  const bytes = Buffer.from(writeSafetensors(new Map([["a", { shape: [1], values: Float32Array.of(1) }]]), "F16"));
  const length = Number(bytes.readBigUInt64LE());
  assert.equal(length % 8, 0);
  assert.equal(bytes.subarray(8, 8 + length).toString().trimEnd(), '{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}');
  assert.deepEqual([...bytes.subarray(8 + length)], [0x00, 0x3c]);
});

test("F16 and BF16 are read exactly, whatever the order of the tensors in the header", async () => {
  const header = JSON.stringify({ b: entry("BF16", [2], 4, 8), a: entry("F16", [2], 0, 4), c: entry("F32", [1], 8, 12), __metadata__: { any: "text" } });
  const data = Uint8Array.from([0x55, 0x35, 0x01, 0x00, 0x49, 0x40, 0x80, 0xff, ...new Uint8Array(Float32Array.of(-1.1).buffer)]);
  const back = await read(fileOf(header, data));
  assert.deepEqual(back.get("a")?.values, Float32Array.of(0.333251953125, 2 ** -24));
  assert.deepEqual(back.get("b")?.values, Float32Array.of(3.140625, -Infinity));
  assert.deepEqual(back.get("c")?.values, Float32Array.of(-1.1));
});

test("a tensor can't be called as the metadata are", () => {
  assert.throws(() => writeSafetensors(new Map([["__metadata__", { shape: [1], values: Float32Array.of(1) }]]), "F32"), /__metadata__/);
});

const four = new Uint8Array(4);
const json = (value: unknown) => fileOf(JSON.stringify(value), four);
const faulty: Record<string, [Uint8Array, RegExp]> = {
  "an empty file": [new Uint8Array(), /0 bytes/],
  "seven bytes": [new Uint8Array(7), /7 bytes/],
  "a header larger than the file": [fileOf("{}", four, 1_000n), /claims 1000 bytes, the file has 14/],
  "a header of all bits": [fileOf("{}", four, 0xffff_ffff_ffff_ffffn), /claims 18446744073709551615 bytes/],
  "a header larger than is allowed": [fileOf("{}", four, 100_000_001n), /claims 100000001/],
  "no JSON": [fileOf("{nonsense", four), /not JSON/],
  "a byte order mark": [fileOf('\uFEFF{"a":{}}', four), /not JSON/],
  "no UTF-8": [fileOf(Uint8Array.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), /not UTF-8/],
  "a list": [json([]), /not an object/],
  "null": [json(null), /not an object/],
  "no tensors but bytes": [json({}), /end at byte 10, the file at 14/],
  "an entry that is none": [json({ a: 5 }), /"a"/],
  "an entry with more fields": [json({ a: { ...entry("F32", [1], 0, 4), x: 1 } }), /"a".*x/],
  "a type that nobody knows": [json({ a: entry("Q4", [1], 0, 4) }), /"a" has dtype "Q4"; supported: F32, F16, BF16/],
  "a type that every object has": [json({ a: entry("constructor", [1], 0, 4) }), /"a" has dtype "constructor"/],
  "a negative side": [json({ a: entry("F32", [-1], 0, 4) }), /"a": shape\.0/],
  "half a side": [json({ a: entry("F32", [0.5], 0, 4) }), /"a": shape\.0/],
  "a side beyond exact numbers": [fileOf('{"a":{"dtype":"F32","shape":[1e300],"data_offsets":[0,4]}}', four), /"a": shape\.0/],
  "too many sides": [json({ a: entry("F32", Array.from({ length: 9 }, () => 1), 0, 4) }), /"a": shape/],
  "a huge shape": [json({ a: entry("F32", [2 ** 40], 0, 2 ** 42) }), /end at byte \d+, the file at/],
  "sides whose product overflows": [json({ a: entry("F32", [2 ** 32, 2 ** 32], 0, 4) }), /needs 73786976294838206464 bytes, its offsets give 4/],
  "offsets that do not fit the shape": [json({ a: entry("F32", [2], 0, 4) }), /needs 8 bytes, its offsets give 4/],
  "offsets the wrong way round": [json({ a: entry("F32", [1], 4, 0) }), /its offsets give -4/],
  "a gap": [json({ a: entry("F16", [1], 2, 4) }), /"a" begins at byte \d+, the tensor before it ends at/],
  "an overlap": [json({ a: entry("F16", [1], 0, 2), b: entry("F16", [1], 1, 3) }), /"b" begins at/],
  "bytes behind the last tensor": [json({ a: entry("F16", [1], 0, 2) }), /the tensors end at/],
  "a name twice": [fileOf('{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}', four), /"a" twice/],
  "a name twice, spelt in two ways, far from its colon": [fileOf(`{"a"${" ".repeat(40)}:{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"\\u0061":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}`, four), /"a" twice/],
  "a field twice": [fileOf('{"a":{"dtype":"F16","shape":[1],"shape":[2],"data_offsets":[0,4]}}', four), /"shape" twice/],
  "metadata that are no object": [json({ __metadata__: 5, a: entry("F32", [1], 0, 4) }), /__metadata__/],
  "metadata that are no text": [json({ __metadata__: { format: 1 }, a: entry("F32", [1], 0, 4) }), /__metadata__: "format"/],
  "__proto__ as an entry that is none": [fileOf('{"__proto__":{"a":1}}', four), /"__proto__"/],
  "a header that nests deep": [fileOf("[".repeat(200_000), four), /nests deeper/],
  "a long name in a message": [json({ ["n".repeat(100_000)]: 1 }), /^.{0,400}$/],
};
for (const [name, [bytes, message]] of Object.entries(faulty)) {
  test(`refused: ${name}`, async () => {
    await assert.rejects(read(bytes), refused(message));
  });
}

test("a wide shape costs no issue for each of its sides", async () => {
  const header = `{"a":{"dtype":"F32","shape":[${'"",'.repeat(300_000)}""],"data_offsets":[0,4]}}`;
  await assert.rejects(read(fileOf(header, four)), (error: unknown) => error instanceof EverloraError && error.message.length < 500);
});

test("a name far from its colon is one name", () => {
  assert.equal(parseHeader(`{"a"${" ".repeat(40)}:{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}`, 0, 2).length, 1);
});

/** Changes a text as damage and malice would. */
function mutate(text: string, random: Random): string {
  const at = Math.floor(random.next() * (text.length + 1));
  const length = Math.floor(random.next() * 12);
  const pick = <T>(list: readonly T[], otherwise: T): T => list[Math.floor(random.next() * list.length)] ?? otherwise;
  switch (Math.floor(random.next() * 7)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + text.slice(at + length);
    case 2:
      return text.slice(0, at) + text.slice(Math.max(0, at - length));
    case 3:
      return text.slice(0, at) + String.fromCharCode(Math.floor(random.next() * (random.next() < 0.9 ? 128 : 65_536))) + text.slice(at + 1);
    case 4:
      return text.replace(/\d+/g, (digits) => (random.next() < 0.3 ? pick(["0", "-1", "1", "4294967296", "9007199254740991", "9007199254740993", "1e308", "1e999", "0.5", "-0", "null", '"2"', "[]", "18446744073709551616"], digits) : digits));
    case 5:
      return text.slice(0, at) + pick(['"__proto__":', '"constructor":1,', "{}", "[[", '"', "\\", "\\u0000", '"shape":', "NaN", '"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},', " ".repeat(30), "\uD800"], "") + text.slice(at);
    default:
      return text.replace(/"(F32|F16|BF16|dtype|shape|data_offsets|a|b|__metadata__)"/g, (word) => (random.next() < 0.3 ? pick(['"F64"', '"__proto__"', '"F16"', '"toString"', '"a"', '""', '"dtype"'], word) : word));
  }
}

test("100,000 damaged headers: a list that covers the file exactly, or an EverloraError", () => {
  const random = createRandom(20_240);
  const seeds = [
    { a: entry("F32", [2, 3], 0, 24), b: entry("F16", [4], 24, 32), c: entry("BF16", [], 32, 34) },
    { __metadata__: { format: "pt" }, "model.layers.0.weight": entry("F32", [1, 0, 2], 0, 0), a: entry("F32", [], 0, 4) },
    { a: entry("F16", [1], 0, 2) },
    {},
  ].map((header) => JSON.stringify(header));
  const sizes = [34, 4, 2, 0];
  let accepted = 0;
  for (let round = 0; round < 100_000; round++) {
    const seed = round % seeds.length;
    let header = seeds[seed] ?? "";
    for (let times = 1 + Math.floor(random.next() * 3); times > 0; times--) header = mutate(header, random);
    const dataStart = 8 + Buffer.byteLength(header);
    const fileBytes = dataStart + (random.next() < 0.8 ? (sizes[seed] ?? 0) : Math.floor(random.next() * 64));
    try {
      const list = parseHeader(header, dataStart, fileBytes);
      assert.equal(list.reduce((sum, { bytes }) => sum + bytes, 0), fileBytes - dataStart);
      for (const { bytes, offset, shape, dtype } of list) {
        assert.ok(offset >= dataStart && offset + bytes <= fileBytes);
        assert.ok(shape.reduce((product, side) => product * side, dtype === "F32" ? 4 : 2) === bytes); // a side may be −0
      }
      accepted++;
    } catch (error) {
      assert.ok(error instanceof EverloraError && error.code === "invalid_safetensors" && error.message.length < 2_000, `${header}\n${String(error)}`);
    }
  }
  // Some damage does no harm (spaces, names); most does.
  assert.ok(accepted > 500 && accepted < 50_000, `${accepted} accepted`);
});

test("400 damaged files: read, or refused with an EverloraError that names the file", async () => {
  const random = createRandom(7);
  const whole = Buffer.from(writeSafetensors(tensors, "F32"));
  for (let round = 0; round < 400; round++) {
    const bytes = Buffer.from(whole.subarray(0, random.next() < 0.3 ? Math.floor(random.next() * whole.length) : whole.length));
    for (let times = Math.floor(random.next() * 4); times > 0 && bytes.length > 0; times--) bytes[Math.floor(random.next() * Math.min(bytes.length, random.next() < 0.5 ? 8 : bytes.length))] = Math.floor(random.next() * 256);
    await read(bytes).then(
      (found) => assert.ok(found.size > 0),
      (error: unknown) => assert.ok(error instanceof EverloraError && error.message.startsWith(`${path}: `), String(error)),
    );
  }
});
