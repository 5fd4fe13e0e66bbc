/** Compiles at start what the first answers will need: the base's graphs, and those of an adapter of the usual rank on all projections. */
import type { Decoder } from "../../../shared/engine/decoder.ts";
import type { LanguageModel } from "../../../shared/engine/language_model.ts";
import type { Parameter } from "../../../shared/engine/step.ts";
import { allTargets, modulesOf } from "../../../shared/peft/adapter.ts";

export async function warmUp(model: LanguageModel, decoder: Decoder, rank: number): Promise<void> {
  await decoder.warm([]);
  const { config } = model.folder;
  const blank = modulesOf(config, allTargets(config)).flatMap(({ name, inputs, outputs }): Parameter[] => [
    { name: `${name}.A`, shape: [rank, inputs], values: new Float32Array(rank * inputs) },
    { name: `${name}.B`, shape: [outputs, rank], values: new Float32Array(outputs * rank) },
  ]);
  await decoder.warm(blank);
}
