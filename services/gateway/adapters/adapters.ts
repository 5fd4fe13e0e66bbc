/**
 * Which adapters answer: reads the live pointers, verifies, loads, swaps, and lets go of a generation when its last lease has ended. Files are
 * the truth, the stream only says when to look. A bad adapter is refused and the one before it keeps answering.
 * Not responsible for: running adapters (engine/), or which request goes to which (chat/routing.ts).
 */
import { readdir } from "node:fs/promises";
import type { Logger } from "pino";
import { EverloraError, messageOf, toEverloraError } from "../../../shared/errors/errors.ts";
import { domainNameSchema } from "../../../shared/events/streams.ts";
import type { Metrics } from "../../../shared/metrics/metrics.ts";
import type { AdapterManifest, LivePointer } from "../../../shared/peft/manifest.ts";
import type { Engine } from "../engine/engine.ts";
import { adapterFolder, type AdapterName } from "./names.ts";
import { Shelf, type Lease, type LoadedAdapter, type Resident } from "./shelf.ts";

export interface AdapterFiles {
  readLive(loras: string, domain: string): Promise<LivePointer | null>;
  readManifest(folder: string): Promise<AdapterManifest>;
  verifyAdapter(folder: string, manifest: AdapterManifest): Promise<AdapterManifest>;
}

export interface AdaptersOptions {
  readonly loras: string;
  readonly files: AdapterFiles;
  /** Where adapters are loaded: the engine, or a server of the serving fleet. */
  readonly engine: Pick<Engine, "load" | "unload" | "state">;
  /** Beyond it the least recently used are let go. */
  readonly budgetBytes: number;
  readonly log: Logger;
  readonly metrics: Pick<Metrics<"gateway">, "adapterLoads" | "adapterLoadDuration" | "adapterInfo" | "adapterActivated" | "adapterLeases" | "adapterBytes">;
}

export interface LiveAdapter {
  readonly domain: string;
  readonly generation: string;
  /** Milliseconds since 1970 at which this gateway began to answer with it. */
  readonly since: number;
}

export class Adapters {
  readonly #options: AdaptersOptions;
  readonly #live = new Map<string, LiveAdapter>();
  /** By domain, the generation that was refused: the periodic look at the files doesn't try it again, a new event does. */
  readonly #refused = new Map<string, string>();
  /** Names that adapters were loaded under by request, in this gateway alone. */
  readonly #aliases = new Map<string, AdapterName>();
  readonly #shelf: Shelf;
  /** One change of a domain at a time. */
  readonly #changes = new Map<string, Promise<void>>();
  /** By generation, the load under way: the same content may stand in two folders, and one of them may be damaged. */
  readonly #loading = new Map<string, Promise<LoadedAdapter>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AdaptersOptions) {
    this.#options = options;
    this.#shelf = new Shelf({
      load: (domain, generation) => this.#load(domain, generation),
      unload: (generation) => options.engine.unload(generation),
      budgetBytes: options.budgetBytes,
      onChange: ({ leases, bytes }) => {
        options.metrics.adapterLeases.set(leases);
        options.metrics.adapterBytes.set(bytes);
      },
      log: options.log,
    });
  }

  /** Brings every pointer into effect, and looks again now and then in case a bell was lost. */
  async start(everyMs = 30_000): Promise<void> {
    await this.refreshAll();
    this.#timer = setInterval(() => void this.refreshAll(), everyMs);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled(this.#changes.values());
  }

  live(domain: string): LiveAdapter | undefined {
    return this.#live.get(domain);
  }

  list(): LiveAdapter[] {
    return [...this.#live.values()].sort((a, b) => a.domain.localeCompare(b.domain));
  }

  aliases(): { name: string; adapter: AdapterName }[] {
    return [...this.#aliases].map(([name, adapter]) => ({ name, adapter }));
  }

  residents(): Resident[] {
    return this.#shelf.list();
  }

  /** The live adapter of a domain, held; undefined when the base answers. Which one it is is settled in the tick of the call: no swap comes between. */
  leaseLive(domain: string): Lease | undefined | Promise<Lease | undefined> {
    const live = this.#live.get(domain);
    if (live === undefined) return undefined;
    return this.#shelf.lease(domain, live.generation) ?? this.#bringBack(live);
  }

  /**
   * A generation by name, loaded when it isn't yet.
   * @throws EverloraError model_not_found, adapter_corrupted, adapter_incompatible
   */
  async leaseGeneration(domain: string, generation: string): Promise<Lease> {
    return (await this.#shelf.acquire(domain, generation)).lease;
  }

  /** The adapter that was loaded under a name of its own, held; undefined when there is no such name. @throws EverloraError as leaseGeneration */
  leaseAlias(name: string): Lease | undefined | Promise<Lease> {
    const adapter = this.#aliases.get(name);
    return adapter === undefined ? undefined : (this.#shelf.lease(adapter.domain, adapter.generation) ?? this.leaseGeneration(adapter.domain, adapter.generation));
  }

  /** Binds a name to an adapter that was loaded just now, or frees it. What it was bound to before ends with its last answer. */
  setAlias(name: string, adapter: AdapterName | null): void {
    const before = this.#aliases.get(name);
    if (adapter === null) this.#aliases.delete(name);
    else this.#aliases.set(name, adapter);
    if (before !== undefined) this.letGo(before);
  }

  /** Frees its memory when its last answer has ended, unless a name or a domain still means it. @returns false when it isn't loaded */
  letGo({ domain, generation }: AdapterName): boolean {
    const named = [...this.#aliases.values()].some((each) => each.domain === domain && each.generation === generation);
    if (named || this.#live.get(domain)?.generation === generation) return true;
    return this.#shelf.retire(domain, generation);
  }

  /** @param event when the change was announced, in milliseconds since 1970, and what it was said to be */
  async refresh(domain: string, event?: { at: number; generation?: string | null }): Promise<void> {
    if (event !== undefined) this.#refused.delete(domain);
    const before = this.#changes.get(domain) ?? Promise.resolve();
    const change = before.then(() => this.#bringIntoEffect(domain, event));
    this.#changes.set(domain, change);
    await change;
    if (this.#changes.get(domain) === change) this.#changes.delete(domain);
  }

  async refreshAll(): Promise<void> {
    const names = await readdir(this.#options.loras, { withFileTypes: true }).catch(() => []);
    const domains = new Set(names.filter((entry) => entry.isDirectory() && domainNameSchema.safeParse(entry.name).success).map((entry) => entry.name));
    for (const domain of this.#live.keys()) domains.add(domain);
    // One after the other: at start each load is disk and memory, and the first live domain should not wait for all.
    for (const domain of domains) await this.refresh(domain);
  }

  /** The engine could not take the adapter back after a restart: the base answers until the files change or an event comes. */
  lost(generation: string, error: EverloraError): void {
    this.#options.log.error({ generation, code: error.code, reason: error.message }, "the engine lost an adapter");
    this.#options.metrics.adapterLoads.inc({ outcome: "lost" });
    this.#shelf.forget(generation);
    for (const live of this.list()) if (live.generation === generation) this.#setLive(live.domain, null);
  }

  /** A live adapter that was let go for want of memory. When it can't come back, the base answers until the files change or an event comes. */
  async #bringBack({ domain, generation }: LiveAdapter): Promise<Lease | undefined> {
    try {
      return (await this.#shelf.acquire(domain, generation)).lease;
    } catch (thrown) {
      const error = toEverloraError(thrown);
      if (error.retryable) throw error;
      this.#refused.set(domain, generation);
      this.lost(generation, error);
      return undefined;
    }
  }

  /** Never throws: whatever goes wrong, the present adapter keeps answering. */
  async #bringIntoEffect(domain: string, event: { at: number; generation?: string | null } | undefined): Promise<void> {
    const { files, loras, log, metrics } = this.#options;
    let wanted: string | null = null;
    const said = event?.generation ?? null;
    // The bell nearly always says what the pointer says, so it is loaded while the pointer is read. The pointer decides.
    let early = said === null || said === this.#live.get(domain)?.generation ? undefined : this.#shelf.acquire(domain, said);
    early?.catch(() => undefined); // who waits for it meets what went wrong
    try {
      wanted = (await files.readLive(loras, domain))?.generation ?? null;
      const present = this.#live.get(domain)?.generation ?? null;
      if (wanted === present || (wanted !== null && this.#refused.get(domain) === wanted)) return;
      const from = event?.at ?? Date.now();
      if (wanted === null) {
        this.#setLive(domain, null);
        log.info({ domain, before: present }, "the base answers again");
      } else {
        const acquired = wanted === said && early !== undefined ? early : this.#shelf.acquire(domain, wanted);
        if (acquired === early) early = undefined;
        const { lease, milliseconds, bytes } = await acquired;
        this.#setLive(domain, wanted);
        lease.release();
        metrics.adapterLoads.inc({ outcome: "loaded" });
        metrics.adapterLoadDuration.observe(Math.max(0, Date.now() - from) / 1000);
        log.info({ domain, generation: wanted, before: present, milliseconds, bytes }, "adapter is live");
      }
      if (present !== null) this.letGo({ domain, generation: present });
    } catch (thrown) {
      const error = toEverloraError(thrown);
      if (wanted !== null) this.#refused.set(domain, wanted);
      metrics.adapterLoads.inc({ outcome: "refused" });
      log.error({ domain, generation: wanted, code: error.code, reason: messageOf(error.cause ?? error), hint: error.hint }, "adapter refused; what answered before keeps answering");
    } finally {
      if (early !== undefined) void this.#dropEarly(domain, said ?? "", early);
    }
  }

  /** What the bell said and the pointer didn't: it goes again, unless somebody uses it. */
  async #dropEarly(domain: string, generation: string, early: Promise<{ lease: Lease }>): Promise<void> {
    const held = await early.catch(() => undefined);
    held?.lease.release();
    if (held !== undefined) this.letGo({ domain, generation });
  }

  #setLive(domain: string, generation: string | null): void {
    const { adapterInfo, adapterActivated } = this.#options.metrics;
    const before = this.#live.get(domain);
    if (before !== undefined) adapterInfo.remove({ domain, generation: before.generation });
    if (generation === null) {
      this.#live.delete(domain);
      return;
    }
    const since = Date.now();
    this.#live.set(domain, { domain, generation, since });
    adapterInfo.set({ domain, generation }, 1);
    adapterActivated.set({ domain }, since / 1000);
  }

  /** One load of a generation at a time, so that no domain is given what another one's load has not verified yet. */
  async #load(domain: string, generation: string): Promise<LoadedAdapter> {
    const before = this.#loading.get(generation);
    const load = before === undefined ? this.#loadVerified(domain, generation) : before.then(() => this.#loadVerified(domain, generation), () => this.#loadVerified(domain, generation));
    this.#loading.set(generation, load);
    try {
      return await load;
    } finally {
      if (this.#loading.get(generation) === load) this.#loading.delete(generation);
    }
  }

  async #loadVerified(domain: string, generation: string): Promise<LoadedAdapter> {
    const { engine, loras } = this.#options;
    if (engine.state.kind === "starting" || engine.state.kind === "failed") throw new EverloraError("engine_unavailable", `The engine is not ready: ${engine.state.reason}.`);
    const folder = await adapterFolder(loras, { domain, generation });
    if (this.#shelf.list().some((resident) => resident.generation === generation)) {
      // It lies in memory for another domain: nothing is loaded, and nothing may be taken out when this folder turns out to be damaged.
      await this.#verify(folder, domain, generation);
      return engine.load(generation, folder);
    }
    // Verifying here and loading in the engine take about as long; nobody can ask for it before both are done.
    const [verified, loaded] = await Promise.allSettled([this.#verify(folder, domain, generation), engine.load(generation, folder)]);
    // What is wrong with the files says more than how the engine stumbled over it.
    if (verified.status === "rejected") {
      if (loaded.status === "fulfilled") await engine.unload(generation);
      throw verified.reason;
    }
    if (loaded.status === "rejected") throw loaded.reason;
    return loaded.value;
  }

  /** That the folder holds what its name says, whole, and for this base. @throws EverloraError adapter_corrupted, adapter_incompatible, adapter_not_found */
  async #verify(folder: string, domain: string, generation: string): Promise<void> {
    const { engine, files } = this.#options;
    const manifest = await files.readManifest(folder);
    if (manifest.generation !== generation || manifest.domain !== domain) throw new EverloraError("adapter_corrupted", `The folder of ${domain}@${generation} holds ${manifest.domain}@${manifest.generation}.`);
    if (engine.state.kind === "ready" && manifest.base.sha256 !== engine.state.ready.model.sha256) {
      throw new EverloraError("adapter_incompatible", `Adapter ${domain}@${generation} was trained for the base ${manifest.base.name} (${manifest.base.sha256.slice(0, 12)}…); this gateway runs ${engine.state.ready.model.name} (${engine.state.ready.model.sha256.slice(0, 12)}…).`);
    }
    await files.verifyAdapter(folder, manifest);
  }
}
