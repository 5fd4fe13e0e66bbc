/**
 * A vLLM or LoRAX server in the engine's place: adapters are loaded there, requests for base and adapters go there, and what it has forgotten after a
 * restart is loaded again. Everything else (cache, routing, leases, recording) stays as it is. Not responsible for: which adapter answers (adapters/).
 */
import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Logger } from "pino";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { weightsFile } from "../../../shared/peft/manifest.ts";
import type { EngineModel } from "../engine/protocol.ts";
import type { EngineState, Ready } from "../engine/supervisor.ts";
import type { Loaded } from "../engine/residents.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { lorax } from "./lorax.ts";
import type { ServedBase, ServingProtocol, StoredAdapter } from "./protocol.ts";
import { vllm } from "./vllm.ts";

export interface FleetOptions {
  /** Up to and including /v1. */
  readonly url: string;
  readonly kind: "auto" | "vllm" | "lorax";
  readonly server: Upstream;
  /** The local folder of the same base: adapters are bound to its hash. */
  readonly local: Pick<EngineModel, "name" | "sha256" | "contextLength" | "parameters">;
  /** loras/ as the server sees it; undefined: the same path as here. */
  readonly loras: string | undefined;
  readonly log: Logger;
  /** Milliseconds between two looks at what the server has. */
  readonly everyMs?: number;
  /** Milliseconds between two tries of the first connection. */
  readonly betweenTriesMs?: number;
}

/** How often the first connection is tried. */
const firstTries = 30;

export class Fleet {
  readonly #options: FleetOptions;
  /** What the server shall have, by generation. */
  readonly #wanted = new Map<string, StoredAdapter & { bytes: number }>();
  readonly #closing = new AbortController();
  #state: EngineState;
  #protocol: ServingProtocol | undefined;
  #base: ServedBase | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reconciling: Promise<void> | undefined;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#state = { kind: "starting", reason: "the serving server has not answered yet" };
  }

  get state(): EngineState {
    return this.#state;
  }

  /** Waits for the server for half a minute. @throws EverloraError upstream_unavailable with what the server, and not the breaker before it, last failed with */
  async start(): Promise<Ready> {
    const { url, local, log, everyMs = 5_000, betweenTriesMs = 1_000 } = this.#options;
    const { origin } = new URL(url);
    let reason = "";
    for (let attempt = 1; ; attempt++)
      try {
        this.#protocol = await this.#detect();
        this.#base = await this.#protocol.base(this.#closing.signal);
        break;
      } catch (error) {
        const isBreakers = error instanceof EverloraError && error.code === "upstream_unavailable";
        if (!isBreakers && messageOf(error) !== reason) {
          reason = messageOf(error);
          log.warn({ SERVING_URL: origin, reason }, "the serving server does not answer as it should; it is tried for half a minute");
        }
        if (attempt >= firstTries || this.#closing.signal.aborted) {
          this.#state = { kind: "failed", reason };
          throw new EverloraError("upstream_unavailable", `SERVING_URL=${origin}: ${reason}`, { param: "SERVING_URL", hint: "Check that the server runs, and that SERVING_URL names it up to and including /v1.", cause: error });
        }
        await new Promise<void>((resolve) => setTimeout(resolve, betweenTriesMs));
      }
    const { contextLength } = this.#base;
    const ready: Ready = { type: "ready", device: this.#protocol.kind, reason: `SERVING_URL=${origin}`, model: { ...local, contextLength: contextLength ?? local.contextLength } };
    this.#state = { kind: "ready", ready };
    this.#timer = setInterval(() => void this.reconcile(), everyMs);
    this.#timer.unref();
    return ready;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#state = { kind: "closed", reason: "the gateway is ending" };
    this.#closing.abort(new EverloraError("cancelled", "The gateway is ending."));
    await this.#reconciling;
    this.#options.server.close();
  }

  /** Resolves when the server answers with it. @param folder loras/<domain>/<generation> here */
  async load(generation: string, folder: string): Promise<Loaded> {
    const started = performance.now();
    const domain = basename(dirname(folder));
    const { loras } = this.#options;
    const adapter = { name: `${domain}@${generation}`, path: loras === undefined ? folder : join(loras, domain, generation), bytes: (await stat(join(folder, weightsFile))).size };
    await this.#speak().load(adapter, this.#closing.signal);
    this.#wanted.set(generation, adapter);
    return { milliseconds: performance.now() - started, bytes: adapter.bytes };
  }

  async unload(generation: string): Promise<void> {
    const adapter = this.#wanted.get(generation);
    this.#wanted.delete(generation);
    if (adapter !== undefined) await this.#speak().unload(adapter, this.#closing.signal);
  }

  /** What a request must say. @param generation null: the base */
  address(generation: string | null): { readonly model: string; readonly more: Readonly<Record<string, unknown>> } {
    if (this.#base === undefined) throw new EverloraError("engine_unavailable", "The serving server has not answered yet.");
    const adapter = generation === null ? null : this.#wanted.get(generation);
    if (adapter === undefined) throw new EverloraError("adapter_not_found", `Generation ${generation} is not loaded.`);
    return this.#speak().address(adapter, this.#base);
  }

  /** Loads again what the server should have and hasn't: it was started anew, or somebody unloaded it. Never throws. */
  reconcile(): Promise<void> {
    this.#reconciling ??= this.#reconcile().finally(() => (this.#reconciling = undefined));
    return this.#reconciling;
  }

  async #reconcile(): Promise<void> {
    const { log } = this.#options;
    try {
      const loaded = await this.#speak().loaded(this.#closing.signal);
      if (loaded === null) return;
      for (const [generation, adapter] of [...this.#wanted]) {
        if (loaded.has(adapter.name)) continue;
        await this.#speak().load(adapter, this.#closing.signal);
        log.info({ adapter: adapter.name }, "the serving server had lost an adapter and has it again");
        // Given up while it was being loaded.
        if (this.#wanted.get(generation) !== adapter) await this.#speak().unload(adapter, this.#closing.signal);
      }
    } catch (error) {
      if (!this.#closing.signal.aborted) log.warn({ reason: messageOf(error) }, "cannot compare the serving server's adapters with ours");
    }
  }

  #speak(): ServingProtocol {
    if (this.#protocol === undefined) throw new EverloraError("engine_unavailable", "The serving server has not answered yet.");
    return this.#protocol;
  }

  /** LoRAX answers /info, which vLLM does not have. */
  async #detect(): Promise<ServingProtocol> {
    const { kind, server, url } = this.#options;
    const root = new URL(url).pathname.replace(/\/+$/, "").replace(/\/v1$/, "");
    if (kind === "vllm") return vllm(server);
    const asLorax = lorax(server, root);
    if (kind === "lorax") return asLorax;
    try {
      await asLorax.base(this.#closing.signal);
      return asLorax;
    } catch (error) {
      // Whoever can't be reached is neither; any answer that is not LoRAX's is taken for vLLM's, whose own look at its models follows.
      if (error instanceof EverloraError && /Cannot reach|No connection/.test(error.message)) throw error;
      return vllm(server);
    }
  }
}
