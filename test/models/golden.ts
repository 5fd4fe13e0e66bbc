/** What Hugging Face computed (test/golden/make_models.py) beside our engine on the same folders. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { computeDevices } from "../../shared/config/devices.ts";
import { openLanguageModel, type LanguageModel } from "../../shared/engine/language_model.ts";
import type { Example } from "../../shared/engine/pack.ts";
import { readSafetensors, type NamedTensor } from "../../shared/models/safetensors.ts";

export const goldenFolder = fileURLToPath(new URL("../golden", import.meta.url));
export const cases = ["tied", "untied"] as const;
/** Where the golden cases run: webgpu.test.ts starts them once more on another device. */
const provider = z.enum(computeDevices).exclude(["auto"]).parse(process.env["TEST_COMPUTE_DEVICE"] ?? "cpu");

const ids = z.array(z.int());
const losses = z.array(z.number()).length(3);
const training = z.object({
  steps: z.array(z.object({ learningRate: z.number(), loss: z.number(), gradientNorm: z.number() })).length(10),
  finalNorms: z.record(z.string(), z.number()),
  lossesAfter: losses,
});
const measured = z.object({
  losses,
  batchLoss: z.number(),
  continuations: z.array(z.object({ prompt: ids, answer: ids.length(20) })).min(2),
  training,
});
const goldenSchema = z.object({
  sequences: z.array(ids).length(3),
  examples: z.array(z.object({ ids, spoken: z.array(z.boolean()) })).length(3),
  base: measured,
  adapter: measured,
});

export interface Golden {
  readonly model: LanguageModel;
  readonly adapterFolder: string;
  readonly expected: ReadonlyMap<string, NamedTensor>;
  readonly sequences: readonly (readonly number[])[];
  readonly examples: readonly Example[];
  readonly base: z.infer<typeof measured>;
  readonly adapter: z.infer<typeof measured>;
}

let compiled: Promise<string> | undefined;
after(async () => {
  if (compiled !== undefined) await rm(await compiled, { recursive: true, force: true });
});

export async function openGolden(name: (typeof cases)[number]): Promise<Golden> {
  compiled ??= mkdtemp(join(tmpdir(), "everlora-golden-"));
  const folder = join(goldenFolder, name);
  const golden = goldenSchema.parse(JSON.parse(await readFile(join(folder, "golden.json"), "utf8")));
  return {
    model: await openLanguageModel(join(folder, "model"), join(await compiled, name), { provider, threads: 1 }),
    adapterFolder: join(folder, "adapter"),
    expected: await readSafetensors(join(folder, "expected.safetensors")),
    sequences: golden.sequences,
    examples: golden.examples.map((example) => ({ ids: example.ids, trained: example.spoken })),
    base: golden.base,
    adapter: golden.adapter,
  };
}

export function tensorOf(golden: Golden, name: string): NamedTensor {
  const tensor = golden.expected.get(name);
  assert.ok(tensor !== undefined, `the golden has no ${name}`);
  return tensor;
}

/** The largest difference, as a share of the largest expected value: what a wrong element can't hide from. NaN is infinitely far. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(actual.length, expected.length, "another number of elements");
  let [difference, largest] = [0, 0];
  for (let at = 0; at < expected.length; at++) {
    const distance = Math.abs((actual[at] ?? NaN) - (expected[at] ?? NaN));
    if (Number.isNaN(distance)) return Infinity;
    difference = Math.max(difference, distance);
    largest = Math.max(largest, Math.abs(expected[at] ?? 0));
  }
  return largest === 0 ? (difference === 0 ? 0 : Infinity) : difference / largest;
}

/** Collects errors, fails on the first above the limit, and reports the worst in the test's output. */
export class Closeness {
  readonly #limit: number;
  #worst = 0;
  #where = "nothing was compared";

  constructor(limit: number) {
    this.#limit = limit;
  }

  check(where: string, actual: ArrayLike<number> | number, expected: ArrayLike<number> | number): void {
    const error = relativeError(typeof actual === "number" ? [actual] : actual, typeof expected === "number" ? [expected] : expected);
    if (error >= this.#worst) [this.#worst, this.#where] = [error, where];
    assert.ok(error <= this.#limit, `${where} differs by ${error.toExponential(2)} relative, ${this.#limit.toExponential(0)} is allowed`);
  }

  report(t: TestContext): void {
    assert.notEqual(this.#where, "nothing was compared");
    t.diagnostic(`worst relative error ${this.#worst.toExponential(2)} (${this.#where})`);
  }
}
