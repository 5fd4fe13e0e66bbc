/**
 * The adapters in the engine's memory and who holds them. A generation is let go when it is not live and its last lease has ended; of those that
 * somebody asked for by name, a few stay for the next such request.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";

export interface Lease {
  readonly domain: string;
  readonly generation: string;
  /** Once; later calls do nothing. */
  release(): void;
}

interface ShelfOptions {
  load(domain: string, generation: string): Promise<{ milliseconds: number; bytes: number }>;
  unload(generation: string): Promise<void>;
  isLive(domain: string, generation: string): boolean;
  onLeases(count: number): void;
  readonly log: Logger;
}

interface Item {
  readonly domain: string;
  readonly generation: string;
  readonly loaded: Promise<{ milliseconds: number; bytes: number }>;
  leases: number;
  /** Was live once: nobody is expected to ask for it again. */
  retired: boolean;
}

/** How many adapters that aren't live and that nobody holds stay loaded. */
const idleLimit = 2;

export class Shelf {
  readonly #options: ShelfOptions;
  /** By domain@generation, in order of last use. */
  readonly #items = new Map<string, Item>();
  #leases = 0;

  constructor(options: ShelfOptions) {
    this.#options = options;
  }

  /** A lease on an adapter that is loaded; undefined when it isn't. */
  lease(domain: string, generation: string): Lease | undefined {
    const item = this.#items.get(nameOf(domain, generation));
    return item === undefined ? undefined : this.#hold(item);
  }

  /** Loads it unless it is there, and holds it. @throws what loading throws */
  async acquire(domain: string, generation: string): Promise<{ lease: Lease; milliseconds: number; bytes: number }> {
    const name = nameOf(domain, generation);
    const item: Item = this.#items.get(name) ?? { domain, generation, loaded: this.#options.load(domain, generation), leases: 0, retired: false };
    item.retired = false;
    const lease = this.#hold(item); // before waiting: nobody may let it go in between
    try {
      return { lease, ...(await item.loaded) };
    } catch (error) {
      if (this.#items.get(name) === item) this.#items.delete(name);
      lease.release();
      throw error;
    }
  }

  /** It is not live any more. */
  retire(domain: string, generation: string): void {
    const item = this.#items.get(nameOf(domain, generation));
    if (item === undefined) return;
    item.retired = true;
    this.#tidy();
  }

  /** The engine has lost it already. */
  forget(generation: string): void {
    for (const [name, item] of [...this.#items]) if (item.generation === generation) this.#items.delete(name);
  }

  #hold(item: Item): Lease {
    item.leases++;
    this.#options.onLeases(++this.#leases);
    const name = nameOf(item.domain, item.generation);
    this.#items.delete(name);
    this.#items.set(name, item);
    let held = true;
    return {
      domain: item.domain,
      generation: item.generation,
      release: () => {
        if (!held) return;
        held = false;
        item.leases--;
        this.#options.onLeases(--this.#leases);
        this.#tidy();
      },
    };
  }

  #tidy(): void {
    const free = [...this.#items.values()].filter((item) => item.leases === 0 && !this.#options.isLive(item.domain, item.generation));
    const asked = free.filter((item) => !item.retired);
    const surplus = new Set(asked.slice(0, Math.max(0, asked.length - idleLimit)));
    for (const item of free) {
      if (!item.retired && !surplus.has(item)) continue;
      this.#items.delete(nameOf(item.domain, item.generation));
      this.#options.unload(item.generation).catch((error: unknown) => this.#options.log.warn({ generation: item.generation, reason: messageOf(error) }, "adapter could not be unloaded"));
    }
  }
}

function nameOf(domain: string, generation: string): string {
  return `${domain}@${generation}`;
}
