/** Sequences that are decoded together give what each gives alone, whatever joins and leaves beside it, and whatever was kept of earlier prompts. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Decoder, type Sequence } from "../../shared/engine/decoder.ts";
import { adapterParameters, openLanguageModel, type LanguageModel } from "../../shared/engine/language_model.ts";
import { blockLength, PrefixCache } from "../../shared/engine/prefix_cache.ts";
import { asRow } from "../../shared/engine/row.ts";
import { argmax } from "../../shared/engine/sampler.ts";
import type { Parameter } from "../../shared/engine/step.ts";
import { isBlocks, isServingRows } from "../../shared/models/quantise.ts";
import { createRandom } from "../../shared/models/random.ts";
import { allTargets, modulesOf, type Adapter } from "../../shared/peft/adapter.ts";
import { createPeftConfig } from "../../shared/peft/config.ts";
import { writeToyModel } from "../support/toy_model.ts";

let folder = "";
let model: LanguageModel;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-batches-"));
});
after(() => rm(folder, { recursive: true, force: true }));

const tokenAt = (seed: number, at: number) => 4 + ((seed * 131 + at * 37) % 250);
const prompt = (seed: number, length: number) => Array.from({ length }, (_, at) => tokenAt(seed, at));
function near(actual: Float32Array | undefined, expected: Float32Array, what: string): void {
  assert.ok(actual !== undefined && actual.length === expected.length, what);
  const worst = actual.reduce((most, value, at) => Math.max(most, Math.abs(value - (expected[at] ?? NaN))), 0);
  assert.ok(worst < 1e-4, `${what}: off by ${worst}`);
}
function adapter(seed: number, targets: readonly string[], rank: number): Parameter[] {
  const random = createRandom(seed);
  const normal = (length: number) => Float32Array.from({ length }, () => 0.3 * random.normal());
  const modules: Adapter["modules"] = new Map(modulesOf(model.folder.config, targets).map(({ name, inputs, outputs }) => [name, { A: normal(rank * inputs), B: normal(outputs * rank), rank, scale: 2, inputs, outputs }]));
  return adapterParameters({ config: createPeftConfig({ rank, alpha: 2 * rank, targetModules: targets, baseModel: "toy" }), modules });
}
/** The logits after each token, decoded alone. */
async function alone(tokens: readonly number[], promptLength: number, parameters: readonly Parameter[]): Promise<Float32Array[]> {
  const decoder = new Decoder(model);
  const { sequence, logits } = await decoder.start(tokens.slice(0, promptLength), parameters);
  const all = [logits];
  for (const token of tokens.slice(promptLength)) all.push(await decoder.step(sequence, token));
  decoder.close(sequence);
  return all;
}

for (const [kind, overrides] of [["heads of 4", {}], ["heads of 16, whose attention writes the cache", { head_dim: 16 }]] as const) describe(kind, () => {
  before(async () => {
    model = await openLanguageModel(await writeToyModel(join(folder, `toy ${kind}`), { overrides: { max_position_embeddings: 1_300, ...overrides } }), join(folder, "compiled"), { provider: "cpu", threads: 1 });
  });

  test("the likeliest tokens that the graph finds are those of the logits, row by row", async () => {
    const decoder = new Decoder(model);
    const parameters = adapter(1, allTargets(model.folder.config), 4);
    const rows = await Promise.all([3, 20, 70].map(async (length, at) => ({ token: 9, one: (await decoder.start(prompt(at, length), at === 1 ? parameters : [])).sequence, other: (await decoder.start(prompt(at, length), at === 1 ? parameters : [])).sequence })));
    for (let step = 0; step < 6; step++) {
      const logits = await decoder.stepAll(rows.map(({ one: sequence, token }) => ({ sequence, token })));
      const found = await decoder.likeliestAll(rows.map(({ other: sequence, token }) => ({ sequence, token })));
      for (const [at, row] of rows.entries()) {
        const best = argmax(logits[at] ?? new Float32Array(0));
        assert.equal(found[at]?.token, best, `row ${at}, step ${step}`);
        assert.ok(Math.abs((found[at]?.logit ?? NaN) - (logits[at]?.[best] ?? NaN)) < 1e-4);
        assert.deepEqual([row.other.length, row.other.tokens], [row.one.length, row.one.tokens]);
        row.token = best;
      }
    }
    for (const { one, other } of rows) for (const sequence of [one, other]) decoder.close(sequence);
  });

  test("rows with different adapters, ranks and projections join and leave a batch; each gives what it gives alone", async () => {
    const all = allTargets(model.folder.config);
    const adapters = [[], adapter(1, all, 4), adapter(2, ["q_proj", "v_proj"], 2), adapter(3, all, 7), adapter(4, ["down_proj"], 1), adapter(5, ["q_proj"], 3), adapter(6, ["gate_proj", "k_proj", "v_proj"], 5)];
    const rows = await Promise.all(
      Array.from({ length: 14 }, async (_, at) => {
        const [promptLength, answer] = [3 + at * 11, 5 + ((at * 7) % 12)];
        const tokens = prompt(at, promptLength + answer);
        const parameters = adapters[at % adapters.length] ?? [];
        return { at, tokens, promptLength, parameters, begins: (at * 5) % 9, expected: await alone(tokens, promptLength, parameters) };
      }),
    );
    const decoder = new Decoder(model);
    const running: { row: (typeof rows)[number]; sequence: Sequence }[] = [];
    let ended = 0;
    for (let round = 0; ended < rows.length; round++) {
      for (const row of rows.filter(({ begins }) => begins === round)) {
        const { sequence, logits } = await decoder.start(row.tokens.slice(0, row.promptLength), row.parameters);
        near(logits, row.expected[0] ?? new Float32Array(0), `row ${row.at}, prompt`);
        running.push({ row, sequence });
      }
      // Not all of them at each step: what has no token now keeps its place.
      const going = running.filter(({ row }) => (row.at + round) % 5 !== 0 || running.length === 1);
      const logits = await decoder.stepAll(going.map(({ row, sequence }) => ({ sequence, token: row.tokens[sequence.length] ?? -1 })));
      for (const [at, one] of going.entries()) {
        const step = one.sequence.length - one.row.promptLength;
        near(logits[at], one.row.expected[step] ?? new Float32Array(0), `row ${one.row.at}, token ${step}, in round ${round}`);
        if (one.sequence.length < one.row.tokens.length) continue;
        decoder.close(one.sequence);
        running.splice(running.indexOf(one), 1);
        ended++;
      }
    }
  });

  test("a sequence that grows long leaves the short ones' batch, and nothing changes for either", async () => {
    const long = prompt(1, 1_030);
    const short = prompt(2, 30);
    const [expectedLong, expectedShort] = [await alone(long, 1_015, []), await alone(short, 15, [])];
    const decoder = new Decoder(model);
    const [a, b] = [await decoder.start(long.slice(0, 1_015), []), await decoder.start(short.slice(0, 15), [])];
    near(a.logits, expectedLong[0] ?? new Float32Array(0), "the long prompt, read in three pieces");
    for (let step = 1; step <= 15; step++) {
      const [one, other] = await decoder.stepAll([{ sequence: a.sequence, token: long[1_014 + step] ?? 0 }, { sequence: b.sequence, token: short[14 + step] ?? 0 }]);
      near(one, expectedLong[step] ?? new Float32Array(0), `long, step ${step}`);
      near(other, expectedShort[step] ?? new Float32Array(0), `short, step ${step}`);
    }
    assert.notEqual(asRow(a.sequence).store, asRow(b.sequence).store);
  });

  test("a row that nobody goes on with in the middle of a batch keeps what it holds, also where its cache is full to the last position", async () => {
    const decoder = new Decoder(model);
    const lengths = [5, 60, 9];
    const expected = await Promise.all(lengths.map((length, at) => alone(prompt(at, length + 200), length, [])));
    const sequences = await Promise.all(lengths.map(async (length, at) => (await decoder.start(prompt(at, length), [])).sequence));
    const next = (at: number) => ({ sequence: sequences[at] as Sequence, token: tokenAt(at, sequences[at]?.tokens.length ?? 0) });
    const step = async (...which: number[]) => {
      const logits = await decoder.stepAll(which.map(next));
      which.forEach((at, place) => near(logits[place], expected[at]?.[(sequences[at]?.length ?? 0) - (lengths[at] ?? 0)] ?? new Float32Array(0), `row ${at} at ${sequences[at]?.length}`));
    };
    const middle = sequences[1];
    assert.ok(middle !== undefined);
    do await step(0, 1, 2);
    while (middle.length < middle.capacity);
    for (let times = 0; times < 3; times++) await step(0, 2);
    await step(0, 1, 2);
    for (const sequence of sequences) decoder.close(sequence);
  });

  test("a step that is refused changes nothing", async () => {
    const decoder = new Decoder(model);
    const full = await decoder.start(prompt(1, 1_299), []);
    const other = await decoder.start(prompt(2, 9), []);
    await decoder.step(full.sequence, 5);
    await assert.rejects(decoder.stepAll([{ sequence: other.sequence, token: 7 }, { sequence: full.sequence, token: 5 }]), { code: "context_length_exceeded" });
    assert.equal(other.sequence.length, 9);
    near(await decoder.step(other.sequence, 7), (await alone([...prompt(2, 9), 7], 9, []))[1] ?? new Float32Array(0), "the other one");
  });

  test("what a prompt shares with an earlier one is taken over, by the same adapter only, and gives the same logits", async () => {
    const decoder = new Decoder(model, { prefixBytes: 1 << 24 });
    const tuned = adapter(5, ["q_proj", "k_proj", "v_proj"], 4);
    const system = prompt(3, 50);
    for (const parameters of [[], tuned]) {
      const first = await decoder.start([...system, ...prompt(4, 20)], parameters);
      assert.equal(first.sequence.reused, 0, "another adapter's values were taken");
      const second = await decoder.start([...system, ...prompt(5, 20)], parameters);
      assert.equal(second.sequence.reused, 48, "whole blocks of the shared beginning");
      near(second.logits, (await alone([...system, ...prompt(5, 20)], 70, parameters))[0] ?? new Float32Array(0), "after a kept beginning");
      // A dialogue goes on: prompt, answer and the next question.
      const answer = prompt(6, 21);
      for (const token of answer) await decoder.step(second.sequence, token);
      decoder.close(second.sequence);
      const dialogue = [...system, ...prompt(5, 20), ...answer, ...prompt(7, 5)];
      const third = await decoder.start(dialogue, parameters);
      assert.equal(third.sequence.reused, blockLength * Math.floor((70 + 21) / blockLength));
      near(third.logits, (await alone(dialogue, dialogue.length, parameters))[0] ?? new Float32Array(0), "a dialogue's next turn");
      const same = await decoder.start(dialogue.slice(0, 96), parameters);
      assert.equal(same.sequence.reused, 80, "the last token is computed: its logits are wanted");
      for (const { sequence } of [first, third, same]) decoder.close(sequence);
    }
    decoder.forget(tuned);
    assert.equal((await decoder.start([...system, 9], tuned)).sequence.reused, 0);
    assert.equal((await decoder.start([...system, 9], [])).sequence.reused, 48);
  });

  test("prompts that are read side by side take over each other's pieces", async () => {
    const decoder = new Decoder(model, { prefixBytes: 1 << 24 });
    const [a, b] = [decoder.open(prompt(8, 200), []), decoder.open([...prompt(8, 190), ...prompt(9, 10)], [])];
    assert.equal(await decoder.read(a, 64), null);
    assert.equal(await decoder.read(b, 64), null);
    assert.equal(b.reused, 64);
    assert.equal(b.length, 128);
    assert.equal(await decoder.read(a, 32), null);
    assert.equal(a.reused, 64);
    for (let logits = await decoder.read(a); logits === null; ) logits = await decoder.read(a);
    const logits = await decoder.read(b);
    near(logits ?? undefined, (await alone([...prompt(8, 190), ...prompt(9, 10)], 200, []))[0] ?? new Float32Array(0), "the second");
  });

  test("short prompts of one adapter are read together, and go on as each does alone", async () => {
    const adapted = adapter(6, allTargets(model.folder.config), 4);
    for (const parameters of [[], adapted]) {
      const decoder = new Decoder(model, { prefixBytes: 1 << 24 });
      const lengths = [21, 1, 64, 40, 17];
      const sequences = lengths.map((length, at) => decoder.open(prompt(at, length), parameters));
      const [first] = sequences;
      assert.ok(first !== undefined && sequences.every((sequence) => decoder.canReadTogether(first, sequence)));
      const logits = await decoder.readAll(sequences);
      const next = await decoder.stepAll(sequences.map((sequence) => ({ sequence, token: 9 })));
      for (const [at, length] of lengths.entries()) {
        const [afterPrompt, afterToken] = await alone([...prompt(at, length), 9], length, parameters);
        near(logits[at], afterPrompt ?? new Float32Array(0), `prompt ${at}`);
        near(next[at], afterToken ?? new Float32Array(0), `token behind prompt ${at}`);
      }
      for (const sequence of sequences) decoder.close(sequence);
      const again = await decoder.start([...prompt(2, 64), 9], parameters);
      assert.equal(again.sequence.reused, 64, "what was read together is kept for prompts that begin so");
      near(again.logits, (await alone([...prompt(2, 64), 9], 65, parameters))[0] ?? new Float32Array(0), "behind what was kept");
    }
  });

  test("read together is only what can be: short, unread, of one adapter, and not known already", async () => {
    const decoder = new Decoder(model, { prefixBytes: 1 << 24 });
    const adapted = adapter(6, allTargets(model.folder.config), 4);
    const fresh = decoder.open(prompt(1, 20), []);
    assert.equal(decoder.canReadTogether(fresh, decoder.open(prompt(2, 20), adapted)), false, "another adapter");
    assert.equal(decoder.canReadTogether(fresh, decoder.open(prompt(3, 65), [])), false, "long");
    assert.equal(decoder.canReadTogether(fresh, (await decoder.start(prompt(4, 20), [])).sequence), false, "read already");
    assert.equal(decoder.canReadTogether(fresh, decoder.open(prompt(4, 20), [])), false, "its beginning is known");
    assert.equal(decoder.canReadTogether(fresh, decoder.open(prompt(5, 20), [])), true);
  });

  test("a cache that others have used before gives the same bits, also after one whose numbers were none", async () => {
    const parameters = adapter(7, allTargets(model.folder.config), 4);
    const broken = parameters.map(({ values, ...rest }) => ({ ...rest, values: values.map(() => Infinity) }));
    const run = async (decoder: Decoder) => {
      const { sequence, logits } = await decoder.start(prompt(1, 30), parameters);
      const next = await decoder.step(sequence, 9);
      decoder.close(sequence);
      return [logits.slice(), next.slice()];
    };
    const decoder = new Decoder(model);
    const expected = await run(new Decoder(model));
    assert.deepEqual(await run(decoder), expected);
    const spoilt = await decoder.start(prompt(2, 40), broken);
    assert.ok(spoilt.logits.every((value) => Number.isNaN(value)));
    await decoder.step(spoilt.sequence, 9);
    decoder.close(spoilt.sequence);
    assert.deepEqual(await run(decoder), expected);
  });
});

test("kept blocks stay within their bytes; of a chain the end goes first", () => {
  const cache = new PrefixCache(4 * 40);
  const chain = (name: string, length: number) => Array.from({ length }, (_, at) => `${name} ${at}`);
  const put = (name: string, length: number) => {
    for (const key of chain(name, length)) cache.put("base", key, new Float32Array(10));
    cache.touch(chain(name, length));
  };
  put("a", 3);
  put("b", 1);
  assert.equal(cache.bytes, 160);
  put("c", 1);
  assert.deepEqual(chain("a", 3).map((key) => cache.has(key)), [true, true, false]);
  cache.touch(chain("a", 2));
  put("d", 2);
  assert.deepEqual([cache.has("a 0"), cache.has("a 1"), cache.has("b 0"), cache.has("c 0")], [true, true, false, false]);
  cache.put("base", "large", new Float32Array(41));
  assert.equal(cache.has("large"), false);
  assert.equal(cache.entries, 4);
  cache.put("other", "x", new Float32Array(10));
  cache.forget("base");
  assert.equal(cache.bytes, 40);
  const none = new PrefixCache(0);
  none.put("base", "a", new Float32Array(1));
  assert.equal(none.entries, 0);
  assert.notEqual(PrefixCache.key("base", [1, 2]), PrefixCache.key("adapter 1", [1, 2]));
});

for (const quantization of ["int8", "int4"] as const) {
  test(`${quantization}: five rows together, with and without an adapter, give nearly what each gives alone`, async () => {
    const path = await writeToyModel(join(folder, `wide-${quantization}`), { overrides: { hidden_size: 64, intermediate_size: 96 } });
    const open = (bits: "none" | "int8" | "int4") => openLanguageModel(path, join(folder, "compiled"), { provider: "cpu", threads: 1 }, { quantization: bits, use: "serving" });
    const [quantised, plain] = [await open(quantization), await open("none")];
    // At 4 bits several rows go through another layout of the same numbers than one does.
    assert.equal(Object.keys(quantised.weights).some(isBlocks), quantization === "int4");
    assert.ok(Object.keys(quantised.weights).some(isServingRows));
    const random = createRandom(9);
    const normal = (length: number) => Float32Array.from({ length }, () => 0.1 * random.normal());
    const lora = modulesOf(quantised.folder.config, allTargets(quantised.folder.config)).flatMap(({ name, inputs, outputs }): Parameter[] => [
      { name: `${name}.A`, shape: [4, inputs], values: normal(4 * inputs) },
      { name: `${name}.B`, shape: [outputs, 4], values: normal(outputs * 4) },
    ]);
    const stepped = async (of: LanguageModel, rows: readonly number[]) => {
      const decoder = new Decoder(of);
      await decoder.warm([]);
      const sequences = await Promise.all(rows.map(async (row) => (await decoder.start(prompt(row, 6 + row), row % 2 === 0 ? [] : lora)).sequence));
      return decoder.stepAll(sequences.map((sequence, at) => ({ sequence, token: tokenAt(rows[at] ?? 0, 50) })));
    };
    const all = [0, 1, 2, 3, 4];
    const [together, exact] = [await stepped(quantised, all), await stepped(plain, all)];
    const error = (actual: Float32Array | undefined, expected: Float32Array | undefined) => Math.hypot(...(expected ?? []).map((value, at) => value - (actual?.[at] ?? NaN))) / Math.hypot(...(expected ?? []));
    for (const row of all) {
      const [single] = await stepped(quantised, [row]);
      const [apart, off] = [error(together[row], single), error(together[row], exact[row])];
      assert.ok(apart < 0.1, `row ${row}: ${apart} from what it gives alone`);
      // Random weights amplify what 4 bits lose: logits that had nothing to do with each other would be off by 1.4.
      assert.ok(off < (quantization === "int8" ? 0.1 : 0.95) && off > 0, `row ${row}: ${off} from float32`);
    }
  });
}
