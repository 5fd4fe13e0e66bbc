/** An adapter of random numbers, small enough that the base's words stay words: for benches that load adapters and don't care what they learnt. */
import type { ModelConfig } from "../../../shared/models/config.ts";
import { createRandom } from "../../../shared/models/random.ts";
import { allTargets, encodeAdapterWeights, modulesOf } from "../../../shared/peft/adapter.ts";
import { createPeftConfig } from "../../../shared/peft/config.ts";

export function randomAdapter(config: ModelConfig, rank: number, seed: number): { config: Readonly<Record<string, unknown>>; weights: Uint8Array } {
  const random = createRandom(seed);
  const draw = (count: number) => Float32Array.from({ length: count }, () => 0.01 * random.normal());
  const targets = allTargets(config);
  const modules = new Map(modulesOf(config, targets).map(({ name, inputs, outputs }) => [name, { A: draw(rank * inputs), B: draw(outputs * rank), rank, inputs, outputs }] as const));
  return { config: createPeftConfig({ rank, alpha: rank, targetModules: targets, baseModel: "base" }), weights: encodeAdapterWeights(modules) };
}
