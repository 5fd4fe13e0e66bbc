/** Prompt, cache and one token after another give the logits and the greedy answers of Hugging Face, also where the cache has to grow. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Decoder } from "../../shared/engine/decoder.ts";
import { adapterParameters } from "../../shared/engine/language_model.ts";
import { sample } from "../../shared/engine/sampler.ts";
import type { Parameter } from "../../shared/engine/step.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { createRandom } from "../../shared/models/random.ts";
import { readAdapter } from "../../shared/peft/adapter.ts";
import { cases, Closeness, openGolden, tensorOf, type Golden } from "./golden.ts";

const random = createRandom(1);
const likeliest = (logits: Float32Array) => sample(logits, { temperature: 0, topP: 1 }, random);
const adapterOf = async (golden: Golden, kind: "base" | "adapter"): Promise<Parameter[]> => (kind === "base" ? [] : adapterParameters(await readAdapter(golden.adapterFolder, golden.model.folder.config)));
const tooLong = (error: unknown) => error instanceof EverloraError && error.code === "context_length_exceeded";

/** A greedy answer, token by token. */
async function* answer(decoder: Decoder, prompt: readonly number[], adapter: readonly Parameter[]): AsyncGenerator<{ token: number; capacity: number }> {
  const started = await decoder.start(prompt, adapter);
  for (let { logits } = started; ; ) {
    const token = likeliest(logits);
    yield { token, capacity: started.sequence.capacity };
    logits = await decoder.step(started.sequence, token);
  }
}

async function take<T>(list: AsyncGenerator<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  while (taken.length < count) {
    const next = await list.next();
    if (next.done === true) break;
    taken.push(next.value);
  }
  return taken;
}

for (const name of cases) {
  for (const kind of ["base", "adapter"] as const) {
    test(`${name}, ${kind}: greedy answers are generate()'s, token for token`, async () => {
      const golden = await openGolden(name);
      const adapter = await adapterOf(golden, kind);
      const decoder = new Decoder(golden.model);
      const grown = new Set<string>();
      for (const { prompt, answer: expected } of golden[kind].continuations) {
        const made = await take(answer(decoder, prompt, adapter), expected.length);
        assert.deepEqual(made.map(({ token }) => token), expected, `after a prompt of ${prompt.length} tokens`);
        const capacities = [...new Set(made.map(({ capacity }) => capacity))];
        if (capacities.length > 1) grown.add(capacities.join("→"));
      }
      assert.ok(grown.size > 0, "no answer crossed a capacity");
    });

    test(`${name}, ${kind}: logits at every position of a long sequence, read token by token`, async (t) => {
      const golden = await openGolden(name);
      const { contextLength, vocabSize } = golden.model.folder.config;
      const [, , ids = []] = golden.sequences;
      const expected = tensorOf(golden, kind === "base" ? "logits.2" : "adapter.logits.2").values;
      const first = ids.length - expected.length / vocabSize;
      const close = new Closeness(2e-5);
      const decoder = new Decoder(golden.model);
      const { sequence } = await decoder.start(ids.slice(0, 60), await adapterOf(golden, kind));
      assert.equal(sequence.capacity, 64);
      for (let at = 60; at < ids.length; at++) {
        const logits = await decoder.step(sequence, ids[at] ?? -1);
        if (at >= first) close.check(`position ${at}`, logits, expected.subarray((at - first) * vocabSize, (at - first + 1) * vocabSize));
      }
      assert.ok(sequence.capacity >= ids.length && sequence.capacity <= 64 * Math.ceil(contextLength / 64));
      close.report(t);
    });
  }

  test(`${name}: the logits after a prompt, whatever padding its bucket adds`, async (t) => {
    const golden = await openGolden(name);
    const decoder = new Decoder(golden.model);
    const close = new Closeness(2e-5);
    for (const [at, ids] of golden.sequences.entries()) {
      const expected = tensorOf(golden, `logits.${at}`).values;
      close.check(`sequence ${at}`, (await decoder.start(ids, [])).logits, expected.subarray(-golden.model.folder.config.vocabSize));
    }
    close.report(t);
  });

  test(`${name}: answers of base and adapter, taken in turn from one decoder, don't disturb each other`, async () => {
    const golden = await openGolden(name);
    const decoder = new Decoder(golden.model);
    const running = await Promise.all(
      (["base", "adapter", "base"] as const).map(async (kind, at) => {
        const continuation = golden[kind].continuations[at % 2];
        assert.ok(continuation !== undefined);
        return { tokens: answer(decoder, continuation.prompt, await adapterOf(golden, kind)), expected: continuation.answer, made: [] as number[] };
      }),
    );
    for (let round = 0; round < 20; round++) for (const one of running) one.made.push(...(await take(one.tokens, 1)).map(({ token }) => token));
    for (const { made, expected } of running) assert.deepEqual(made, expected);
  });

  test(`${name}: the context can be filled to its last position, and no further`, async () => {
    const golden = await openGolden(name);
    const { contextLength } = golden.model.folder.config;
    const decoder = new Decoder(golden.model);
    const fill = Array.from({ length: contextLength - 1 }, (_, at) => 3 + (at % 90));
    const { sequence } = await decoder.start(fill, []);
    assert.ok((await decoder.step(sequence, 5)).every(Number.isFinite));
    assert.equal(sequence.length, contextLength);
    await assert.rejects(decoder.step(sequence, 5), tooLong);
    await assert.rejects(decoder.start([...fill, 5], []), tooLong);
  });
}
