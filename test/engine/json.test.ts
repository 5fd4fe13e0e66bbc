/** Constrained decoding: whatever the model would like to say, what is complete parses and fits the schema. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { JsonForms, type JsonForm } from "../../shared/engine/json/constraint.ts";
import { Machine } from "../../shared/engine/json/machine.ts";
import { anyObject, anyValue, compileSchema } from "../../shared/engine/json/schema.ts";
import { sample } from "../../shared/engine/sampler.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { createRandom } from "../../shared/models/random.ts";

/** Every byte, and what tokenizers like to join: signs with blanks, words with a quote in them, halves of characters. */
const pieces = ['{"', '":', '": "', '", "', '"}', "}]", "]}", ",\n ", "null", "true", "fal", "se", "-1", "0.", "e+", "12", "ação", "\u{1F600}", 'x", "y', "\\u00", "\\", "name", "nam", "tags", "[[", "{}", "[]", "  \n"];
const bytes = [null, ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), ...pieces.map((piece): Uint8Array => Buffer.from(piece)), Uint8Array.of(0xc3), Uint8Array.of(0x98, 0x80), Uint8Array.of(0x22, 0xe2)];
const end = 0;
const forms = new JsonForms(() => bytes, [end]);

/** A model that says anything, and is in a hurry to close what it opened, or its answers would never end. @returns null when it came to no end */
function write(form: JsonForm, seed: number, most = 400): string | null {
  const random = createRandom(seed);
  const constraint = forms.constraint(form);
  const written: Uint8Array[] = [];
  for (let at = 0; at < most; at++) {
    const logits = Float32Array.from(bytes, (token) => 2 * random.normal() + (token !== null && /^["}\]]/.test(Buffer.from(token).toString()) ? at / 20 : 0));
    constraint.restrict(logits);
    const token = sample(logits, { temperature: 1, topP: 1 }, random);
    if (token === end) return Buffer.concat(written).toString();
    written.push(bytes[token] ?? new Uint8Array());
    constraint.accept(token);
    if (constraint.complete) return Buffer.concat(written).toString();
  }
  return null;
}

function parses(text: string, root: unknown): boolean {
  const machine = new Machine(root === undefined ? anyObject : compileSchema(root));
  let state = machine.start;
  for (const byte of Buffer.from(text)) {
    const next = state.step(byte);
    if (next === null) return false;
    state = next;
  }
  return state.mayEnd;
}

const person = {
  type: "object",
  title: "A person",
  properties: {
    name: { type: "string", description: "as it is written" },
    age: { type: "integer" },
    height: { type: ["number", "null"] },
    kind: { enum: ["a", "ação", "a\"b", 3, null] },
    version: { const: 2 },
    tags: { type: "array", items: { type: "string" }, minItems: 1, maxItems: 3 },
    friend: { anyOf: [{ $ref: "#/$defs/friend" }, { type: "null" }] },
    note: {},
    ok: { type: "boolean" },
  },
  required: ["name", "age", "tags", "friend"],
  additionalProperties: false,
  $defs: { friend: { type: "object", properties: { name: { type: "string" }, friend: { $ref: "#/$defs/friend" } }, required: ["name"] } },
};
const friend: z.ZodType = z.strictObject({ name: z.string(), friend: z.lazy(() => friend).optional() });
const personShape = z.strictObject({
  name: z.string(),
  age: z.number().refine(Number.isInteger),
  height: z.number().nullable().optional(),
  kind: z.union([z.enum(["a", "ação", "a\"b"]), z.literal(3), z.null()]).optional(),
  version: z.literal(2).optional(),
  tags: z.array(z.string()).min(1).max(3),
  friend: friend.nullable(),
  note: z.unknown().optional(),
  ok: z.boolean().optional(),
});

test("an object of any kind: whatever the seed, what ends parses", () => {
  let ended = 0;
  for (let seed = 0; seed < 150; seed++) {
    const text = write({ type: "json_object" }, seed);
    if (text === null) continue;
    ended++;
    const value: unknown = JSON.parse(text);
    assert.ok(typeof value === "object" && value !== null && !Array.isArray(value), text);
  }
  assert.ok(ended > 100, `${ended} of 150 ended`);
});

test("a schema: whatever the seed, what ends fits it", () => {
  let ended = 0;
  for (let seed = 0; seed < 150; seed++) {
    const text = write({ type: "json_schema", schema: person }, seed);
    if (text === null) continue;
    ended++;
    const parsed = personShape.safeParse(JSON.parse(text));
    assert.ok(parsed.success, `${text}: ${parsed.error?.message}`);
  }
  assert.ok(ended > 100, `${ended} of 150 ended`);
});

test("numbers, words and lists at the top end by themselves or by the end token", () => {
  for (const [schema, shape] of [[{ type: "number" }, z.number()], [{ type: "integer" }, z.int()], [{ type: "boolean" }, z.boolean()], [{ const: { a: [1, "é"] } }, z.strictObject({ a: z.tuple([z.literal(1), z.literal("é")]) })], [{ type: "array", items: { type: "null" }, maxItems: 2 }, z.array(z.null()).max(2)], [true, z.unknown()]] as const) {
    for (let seed = 0; seed < 30; seed++) {
      const text = write({ type: "json_schema", schema }, seed);
      if (text !== null) assert.ok(shape.safeParse(JSON.parse(text)).success, text);
    }
  }
});

test("what JSON.parse takes is taken, what it refuses is refused", () => {
  const good = ['{}', ' {"a":1}', '{"a":[1,-0.5e+10,"x\\u00e9\\n",{},[],null,true,false]}', '{ "a" : {"b":\n"\u{1F600}ção"} }', '{"a":0}', '{"":""}', '{"a":"\u007f"}'];
  const bad = ['{', '{"a"}', '{"a":01}', '{"a":.5}', '{"a":1.}', '{"a":+1}', '{"a":"\n"}', '{"a":"\\x"}', '{"a":1,}', '[1]', '{"a":nul}', "{'a':1}", '{"a":1}}', '{"a":"\\u12g4"}', '{"a" 1}', '{,}', '{"a":-}', '{"a":1e}', '"a"'];
  for (const text of good) assert.ok(parses(text, undefined) && typeof JSON.parse(text) === "object", text);
  for (const text of bad) assert.equal(parses(text, undefined), false, text);
  const machine = new Machine(anyValue);
  for (const wrong of [[0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5], [0xff], [0xe2, 0x28]]) {
    let state = machine.start.step(0x22);
    for (const byte of wrong) state = state?.step(byte) ?? null;
    assert.equal(state, null, `bytes ${wrong.join(" ")} are no UTF-8`);
  }
});

test("properties come in their order, required ones always, others never", () => {
  const schema = { type: "object", properties: { a: { type: "integer" }, b: { type: "integer" }, c: { type: "integer" } }, required: ["b"] };
  for (const text of ['{"b":1}', '{"a":1,"b":2}', '{"b":2,"c":3}', '{"a":1, "b":2, "c":3}']) assert.ok(parses(text, schema), text);
  for (const text of ['{}', '{"a":1}', '{"c":1,"b":2}', '{"b":1,"b":2}', '{"b":1,"d":2}', '{"b":1.5}', '{"b":null}']) assert.equal(parses(text, schema), false, text);
  const map = { type: "object", additionalProperties: { type: "boolean" } };
  assert.ok(parses('{"x":true,"y":false}', map));
  assert.equal(parses('{"x":1}', map), false);
  assert.ok(parses("{}", { type: "object", additionalProperties: false }));
  assert.equal(parses('{"x":1}', { type: "object", additionalProperties: false }), false);
});

test("keywords that could not be kept to are refused by name and place", () => {
  const refused: [unknown, RegExp][] = [
    [{ type: "string", pattern: "a+" }, /schema: the keyword "pattern" is not supported/],
    [{ type: "object", properties: { a: { type: "string", format: "date" } } }, /schema\.properties\.a: the keyword "format"/],
    [{ type: "number", minimum: 3 }, /"minimum"/],
    [{ oneOf: [{ type: "string" }] }, /"oneOf"/],
    [{ anyOf: [{ type: "string" }], type: "string" }, /"type" is not supported beside anyOf/],
    [{ anyOf: [] }, /anyOf must be a list/],
    [{ type: "text" }, /the type "text"/],
    [{ type: "string", properties: {} }, /"properties" belongs to the type object/],
    [{ $ref: "https://example.com/schema" }, /leads out of the schema/],
    [{ $ref: "#/$defs/none" }, /leads nowhere/],
    [{ $ref: "#" }, /leads to itself/],
    [{ anyOf: [{ $ref: "#" }, { type: "null" }] }, /leads to itself/],
    [{ enum: [1, 2], type: "string" }, /no value of enum/],
    [{ type: "object", required: ["a"], additionalProperties: false }, /"a" is required and not allowed/],
    [{ type: "array", minItems: 3, maxItems: 2 }, /minItems and maxItems/],
    [false, /allows no value/],
    ["string", /a schema is an object/],
  ];
  for (const [schema, message] of refused) {
    assert.throws(() => forms.constraint({ type: "json_schema", schema }), (error) => error instanceof EverloraError && error.code === "invalid_request" && error.param === "response_format" && message.test(error.message), JSON.stringify(schema));
  }
});

test("blanks, depth and digits end", () => {
  assert.equal(parses(`{${" ".repeat(17)}}`, undefined), false);
  assert.equal(parses(`{"a":${"[".repeat(100)}`, undefined), false);
  assert.equal(parses(`{"a":${"1".repeat(16)}}`, undefined), false);
});

test("a vocabulary that can't go on is an error, not an endless answer", () => {
  const poor = new JsonForms(() => [null, Buffer.from("{")], [0]).constraint({ type: "json_object" });
  poor.restrict(new Float32Array(2));
  poor.accept(1);
  assert.throws(() => poor.restrict(new Float32Array(2)), { code: "engine_failed" });
});
