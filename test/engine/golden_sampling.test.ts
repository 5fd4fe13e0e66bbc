/** What is drawn from has the probabilities that transformers' LogitsProcessors leave (test/golden/sampling/make_sampling.py). */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { z } from "zod";
import { scoreToken } from "../../shared/engine/logprobs.ts";
import { Penalties } from "../../shared/engine/penalties.ts";
import { weigh } from "../../shared/engine/sampler.ts";

const numbers = z.array(z.number());
const schema = z.object({
  logits: z.record(z.string(), numbers),
  ids: z.array(z.int()),
  cases: z.array(
    z.object({
      logits: z.string(),
      settings: z.object({ temperature: z.number(), top_k: z.int().default(0), top_p: z.number().default(1), min_p: z.number().default(0), repetition_penalty: z.number().default(1) }),
      probabilities: numbers,
    }),
  ),
  logProbabilities: z.record(z.string(), numbers),
});
const golden = schema.parse(JSON.parse(await readFile(new URL("../golden/sampling/sampling.json", import.meta.url), "utf8")));
const logitsOf = (name: string) => Float32Array.from(golden.logits[name] ?? []);

for (const { logits: name, settings, probabilities } of golden.cases) {
  test(`${name} logits with ${JSON.stringify(settings)}`, () => {
    const logits = logitsOf(name);
    new Penalties({ repetitionPenalty: settings.repetition_penalty }, golden.ids).apply(logits);
    const { tokens, weights, total } = weigh(logits, { temperature: settings.temperature, topK: settings.top_k, topP: settings.top_p, minP: settings.min_p });
    const ours = new Float64Array(logits.length);
    weights.forEach((weight, at) => (ours[tokens === null ? at : (tokens[at] ?? -1)] = weight / total));
    probabilities.forEach((expected, token) => {
      assert.ok(Math.abs((ours[token] ?? NaN) - expected) < 1e-6 + 1e-5 * expected, `token ${token}: ${ours[token]}, transformers has ${expected}`);
      if (expected > 1e-7) assert.ok((ours[token] ?? 0) > 0, `token ${token} is left out`);
      if (expected === 0) assert.ok((ours[token] ?? 1) < 1e-7, `token ${token} is not left out`);
    });
  });
}

for (const [name, expected] of Object.entries(golden.logProbabilities)) {
  test(`log-probabilities of ${name} logits`, () => {
    const order = [...expected.keys()].sort((a, b) => (expected[b] ?? 0) - (expected[a] ?? 0));
    const { chosen, top } = scoreToken(logitsOf(name), 17, 20);
    assert.ok(Math.abs(chosen.logprob - (expected[17] ?? NaN)) < 1e-5);
    assert.deepEqual(top.map(({ token }) => token), order.slice(0, 20));
    for (const { token, logprob } of top) assert.ok(Math.abs(logprob - (expected[token] ?? NaN)) < 1e-5);
    assert.deepEqual(scoreToken(logitsOf(name), 3, 0).top, []);
  });
}

test("frequency counts each time, presence once, of the answer only; bias is added; OpenAI's formula", () => {
  const penalties = new Penalties({ frequencyPenalty: 0.5, presencePenalty: 0.25, logitBias: { "2": 3, "4": -100, "99": 1 } }, [0, 0, 1]);
  for (const token of [1, 1, 3]) penalties.count(token);
  const logits = Float32Array.of(1, 1, 1, 1, 1);
  penalties.apply(logits);
  assert.deepEqual([...logits], [1, 1 - 2 * 0.5 - 0.25, 4, 1 - 0.5 - 0.25, -99]);
  assert.equal(new Penalties({ repetitionPenalty: 1, frequencyPenalty: 0 }, [1]).active, false);
});
