/**
 * Loading and unloading adapters by request, one change of a name at a time. A domain's name changes its live pointer, for every gateway and after a
 * restart; any other name is bound in this gateway alone, as vLLM does. An adapter is loaded before its name means it.
 */
import { EverloraError } from "../../../shared/errors/errors.ts";
import { domainNameSchema, generationSchema, publish } from "../../../shared/events/streams.ts";
import { writeLive } from "../../../shared/peft/registry.ts";
import type { Redis } from "../../../shared/redis/redis.ts";
import { autoModel, parseExact } from "../chat/routing.ts";
import type { Adapters } from "./adapters.ts";
import { readAdapterName, type AdapterName } from "./names.ts";

export interface ByRequestOptions {
  readonly loras: string;
  readonly adapters: Adapters;
  readonly domains: ReadonlySet<string>;
  /** Names that no adapter may take. */
  readonly taken: ReadonlySet<string>;
  /** Rings the bell for the other gateways. */
  readonly redis: Redis;
}

interface Change {
  readonly name: string;
  /** What the name must mean just now: a generation, or null for nothing. */
  readonly expected?: string | null | undefined;
}

export class AdaptersByRequest {
  readonly #options: ByRequestOptions;
  readonly #changes = new Map<string, Promise<unknown>>();

  constructor(options: ByRequestOptions) {
    this.#options = options;
  }

  /**
   * @param inPlace the name may mean another adapter already
   * @throws EverloraError invalid_request, conflict (`expected`), model_not_found, adapter_corrupted, adapter_incompatible
   */
  async load(change: Change & { readonly path: string; readonly inPlace: boolean }): Promise<void> {
    const adapter = await readAdapterName(this.#options.loras, change.path);
    this.#checkName(change.name, adapter);
    await this.#alone(change.name, async () => {
      const present = this.#check(change);
      // As in vLLM; whoever names the generation that he means to replace knows what he does.
      if (present !== null && !change.inPlace && change.expected === undefined) {
        throw new EverloraError("invalid_request", `The LoRA adapter '${change.name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`, { param: "lora_name" });
      }
      const { adapters } = this.#options;
      const lease = await adapters.leaseGeneration(adapter.domain, adapter.generation).catch((error: unknown) => {
        throw error instanceof EverloraError && error.code === "model_not_found" ? new EverloraError(error.code, error.message, { param: "lora_path" }) : error;
      });
      try {
        if (this.#isDomain(change.name)) await this.#point(change.name, adapter.generation, "load_lora_adapter");
        else if (parseExact(change.name) === undefined) adapters.setAlias(change.name, adapter);
      } finally {
        lease.release();
      }
    });
  }

  /** @throws EverloraError conflict, model_not_found */
  async unload(change: Change): Promise<void> {
    await this.#alone(change.name, async () => {
      const { adapters } = this.#options;
      const present = this.#check(change);
      const missing = () => new EverloraError("model_not_found", `The LoRA adapter '${change.name}' cannot be found.`, { param: "lora_name" });
      if (present === null) throw missing();
      const exact = parseExact(change.name);
      if (this.#isDomain(change.name)) await this.#point(change.name, null, "unload_lora_adapter");
      else if (exact === undefined) adapters.setAlias(change.name, null);
      else if (!adapters.letGo(exact)) throw missing();
    });
  }

  /** What the name means, after comparing it with what the caller expects. */
  #check({ name, expected }: Change): string | null {
    const present = this.#present(name);
    if (expected !== undefined && expected !== present) {
      throw new EverloraError("conflict", `'${name}' is ${present === null ? "not loaded" : `generation ${present}`}, not ${expected === null ? "unloaded" : `generation ${expected}`}.`, { param: "expected_generation", details: { generation: present } });
    }
    return present;
  }

  #present(name: string): string | null {
    const { adapters } = this.#options;
    const exact = parseExact(name);
    if (exact !== undefined) return adapters.residents().some((each) => each.domain === exact.domain && each.generation === exact.generation) ? exact.generation : null;
    return adapters.live(name)?.generation ?? adapters.aliases().find((each) => each.name === name)?.adapter.generation ?? null;
  }

  /** @throws EverloraError invalid_request when the adapter can't be called so */
  #checkName(name: string, adapter: AdapterName): void {
    const fault = (words: string) => new EverloraError("invalid_request", `lora_name: ${words}`, { param: "lora_name" });
    const exact = parseExact(name);
    if (exact !== undefined) {
      if (exact.domain !== adapter.domain || exact.generation !== adapter.generation) throw fault(`'${name}' names another adapter than lora_path.`);
    } else if (!/^[\w][\w.-]{0,62}$/.test(name)) throw fault(`'${name.slice(0, 64)}' must be 1 to 63 letters, digits, dots, dashes and underscores.`);
    else if (name === autoModel || this.#options.taken.has(name)) throw fault(`'${name}' is the name of a model.`);
    else if (this.#isDomain(name) && name !== adapter.domain) throw fault(`'${name}' is a domain, and the adapter was trained for ${adapter.domain}.`);
  }

  #isDomain(name: string): boolean {
    return this.#options.domains.has(name) || this.#options.adapters.live(name) !== undefined;
  }

  /** Files first, then this gateway, then the bell: a Redis that is away delays the other gateways by the time of their next look at the files. */
  async #point(name: string, generation: string | null, reason: string): Promise<void> {
    const { loras, adapters, redis } = this.#options;
    const domain = domainNameSchema.parse(name);
    const at = Date.now();
    await writeLive(loras, domain, { generation: generation === null ? null : generationSchema.parse(generation), reason });
    await adapters.refresh(domain, { at });
    if ((adapters.live(domain)?.generation ?? null) !== generation) throw new EverloraError("conflict", `The live adapter of ${domain} was changed by somebody else.`);
    await publish(redis, "adapters", { type: generation === null ? "rolled_back" : "promoted", domain, generation, at }).catch(() => undefined);
  }

  async #alone(name: string, work: () => Promise<void>): Promise<void> {
    const before = this.#changes.get(name) ?? Promise.resolve();
    const change = before.catch(() => undefined).then(work);
    this.#changes.set(name, change);
    try {
      await change;
    } finally {
      if (this.#changes.get(name) === change) this.#changes.delete(name);
    }
  }
}
