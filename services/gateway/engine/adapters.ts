/** The adapters that the engine child holds: each once, however many answers use it, and as long as one does. */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Decoder } from "../../../shared/engine/decoder.ts";
import { adapterParameters, type LanguageModel } from "../../../shared/engine/language_model.ts";
import type { Parameter } from "../../../shared/engine/step.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { readAdapter, readAdapterSync, type Adapter } from "../../../shared/peft/adapter.ts";
import { weightsFile } from "../../../shared/peft/manifest.ts";
import type { FromChild, ToChild } from "./protocol.ts";

const noAdapter: readonly Parameter[] = [];
/** Files up to this size are read synchronously. */
const atOnceBytes = 64 * 2 ** 20;

interface Loaded {
  readonly parameters: readonly Parameter[];
  users: number;
  /** Ids of `unload` messages that wait for the last user. */
  unloading: string[];
}

export class LoadedAdapters {
  readonly #model: LanguageModel;
  readonly #decoder: Decoder;
  readonly #send: (message: FromChild) => void;
  readonly #adapters = new Map<string, Loaded>();

  constructor(model: LanguageModel, decoder: Decoder, send: (message: FromChild) => void) {
    this.#model = model;
    this.#decoder = decoder;
    this.#send = send;
  }

  /** Reads it, and makes sure that there are graphs for its projections, so that the first request does not find out what is wrong. @throws EverloraError adapter_incompatible, … */
  async load({ id, generation, folder }: Extract<ToChild, { type: "load" }>): Promise<void> {
    const started = performance.now();
    const present = this.#adapters.get(generation);
    const parameters = present?.parameters ?? adapterParameters(await this.#read(folder));
    if (present === undefined) {
      await this.#decoder.warm(parameters);
      this.#adapters.set(generation, { parameters, users: 0, unloading: [] });
    }
    const bytes = parameters.reduce((sum, { values }) => sum + values.byteLength, 0);
    this.#send({ type: "loaded", id, milliseconds: performance.now() - started, bytes });
  }

  /** Small ones at one go: reading takes two milliseconds then, and each turn of the event loop in between may take as long. */
  async #read(folder: string): Promise<Adapter> {
    const { config } = this.#model.folder;
    const bytes = statSync(join(folder, weightsFile), { throwIfNoEntry: false })?.size ?? 0;
    return bytes <= atOnceBytes ? readAdapterSync(folder, config) : readAdapter(folder, config);
  }

  unload({ id, generation }: Extract<ToChild, { type: "unload" }>): void {
    const loaded = this.#adapters.get(generation);
    if (loaded === undefined) this.#send({ type: "unloaded", id });
    else {
      loaded.unloading.push(id);
      this.#dropIfUnused(generation, loaded);
    }
  }

  /** @param generation null: the base @throws EverloraError adapter_not_found */
  borrow(generation: string | null): readonly Parameter[] {
    if (generation === null) return noAdapter;
    const loaded = this.#adapters.get(generation);
    if (loaded === undefined || loaded.unloading.length > 0) throw new EverloraError("adapter_not_found", `Generation ${generation} is not loaded.`);
    loaded.users++;
    return loaded.parameters;
  }

  giveBack(generation: string | null): void {
    const loaded = generation === null ? undefined : this.#adapters.get(generation);
    if (generation === null || loaded === undefined) return;
    loaded.users--;
    this.#dropIfUnused(generation, loaded);
  }

  #dropIfUnused(generation: string, loaded: Loaded): void {
    if (loaded.users > 0 || loaded.unloading.length === 0) return;
    this.#adapters.delete(generation);
    this.#decoder.forget(loaded.parameters);
    for (const id of loaded.unloading) this.#send({ type: "unloaded", id });
  }
}
