/** The adapter that is live for the domain: what a run's own has to beat, and what a run may go on from. */
import { messageOf } from "../../../shared/errors/errors.ts";
import { adapterParameters, toLora, type LanguageModel } from "../../../shared/engine/language_model.ts";
import type { Batch } from "../../../shared/engine/pack.ts";
import { createLossFunction } from "../../../shared/engine/loss_function.ts";
import { readAdapter, type Adapter, type LoraModule } from "../../../shared/peft/adapter.ts";
import type { TrainerInput } from "./trainer.ts";

export interface StartingPoint {
  readonly generation: string;
  readonly modules: ReadonlyMap<string, { readonly A: Float32Array; readonly B: Float32Array }>;
}

export class LiveAdapter {
  readonly #adapter: Adapter;
  readonly #model: LanguageModel;
  readonly #generation: string;
  readonly #log: (message: string) => void;

  private constructor(adapter: Adapter, generation: string, model: LanguageModel, log: (message: string) => void) {
    this.#adapter = adapter;
    this.#generation = generation;
    this.#model = model;
    this.#log = log;
  }

  /** null: none is live, or it was trained for another base. */
  static async open(live: TrainerInput["liveAdapter"], model: LanguageModel, log: (message: string) => void): Promise<LiveAdapter | null> {
    if (live === null) return null;
    if (live.baseSha256 !== model.folder.sha256) {
      log("The live adapter was trained for another base model; the gateway does not load it, so it is not compared with.");
      return null;
    }
    return new LiveAdapter(await readAdapter(live.folder, model.folder.config), live.generation, model, log);
  }

  /** @param measure calls `run` for each of its batches */
  async measure<T>(shape: { rows: number; length: number }, measure: (run: (batch: Batch) => Promise<Float32Array>) => Promise<T>): Promise<T> {
    const { backend, weights, folder, compiled } = this.#model;
    const parameters = adapterParameters(this.#adapter);
    const loss = await createLossFunction(backend, parameters, (tensors) => ({ weights, lora: toLora(parameters, tensors, 1) }), folder.config, shape, { ...compiled, key: `${compiled.key} scale 1` });
    try {
      return await measure((batch) => loss.run(batch));
    } finally {
      await loss.compiled.close();
    }
  }

  /**
   * Its weights as a new adapter's, if they have its form. @param scale of the new one: B is adapted to it, so that both compute the same
   * @returns null, and says why, when it lies on other modules or has another rank
   */
  startingPoint(modules: readonly LoraModule[], rank: number, scale: number): StartingPoint | null {
    try {
      const own = new Map(
        adapterParametersByModule(this.#adapter, scale).map(([name, weights]) => {
          const module = modules.find((candidate) => candidate.name === name);
          if (module === undefined) throw new RangeError(`it lies on ${name}, which this run doesn't train`);
          if (weights.A.length !== rank * module.inputs) throw new RangeError(`its rank on ${name} is ${weights.A.length / module.inputs}, this run's is ${rank}`);
          return [name, weights];
        }),
      );
      const missing = modules.find(({ name }) => !own.has(name));
      if (missing !== undefined) throw new RangeError(`it doesn't lie on ${missing.name}`);
      return { generation: this.#generation, modules: own };
    } catch (error) {
      this.#log(`The live adapter ${this.#generation} can't be gone on from: ${messageOf(error)}.`);
      return null;
    }
  }
}

function adapterParametersByModule(adapter: Adapter, scale: number): [string, { A: Float32Array; B: Float32Array }][] {
  const parameters = adapterParameters(adapter);
  return Array.from({ length: parameters.length / 2 }, (_, at) => {
    const [a, b] = [parameters[2 * at], parameters[2 * at + 1]];
    if (a === undefined || b === undefined) throw new RangeError("an adapter's tensors come in pairs");
    return [a.name.replace(/\.A$/, ""), { A: a.values, B: b.values.map((value) => value / scale) }];
  });
}
