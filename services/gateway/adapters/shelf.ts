/**
 * The adapters in memory and who holds them. A generation that was replaced is let go when its last lease has ended; of the others the least recently
 * used are let go beyond a byte budget, and loaded again when somebody asks. What is held is never let go, so the budget may be exceeded for a while.
 */
import type { Logger } from "pino";
import { messageOf } from "../../../shared/errors/errors.ts";

export interface Lease {
  readonly domain: string;
  readonly generation: string;
  /** Once; later calls do nothing. */
  release(): void;
}

export interface LoadedAdapter {
  readonly milliseconds: number;
  readonly bytes: number;
}

interface ShelfOptions {
  load(domain: string, generation: string): Promise<LoadedAdapter>;
  unload(generation: string): Promise<void>;
  readonly budgetBytes: number;
  onChange(state: { leases: number; bytes: number }): void;
  readonly log: Logger;
}

interface Item {
  readonly domain: string;
  readonly generation: string;
  readonly loaded: Promise<LoadedAdapter>;
  /** 0 until it is loaded. */
  bytes: number;
  ready: boolean;
  leases: number;
  /** Was replaced: nobody is expected to ask for it again. */
  retired: boolean;
}

export interface Resident {
  readonly domain: string;
  readonly generation: string;
  readonly bytes: number;
  readonly leases: number;
  readonly retired: boolean;
}

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
    return item === undefined || !item.ready ? undefined : this.#hold(item);
  }

  /** Loads it unless it is there, and holds it. @throws what loading throws */
  async acquire(domain: string, generation: string): Promise<LoadedAdapter & { lease: Lease }> {
    const name = nameOf(domain, generation);
    const item: Item = this.#items.get(name) ?? { domain, generation, loaded: this.#options.load(domain, generation), bytes: 0, ready: false, leases: 0, retired: false };
    item.retired = false;
    const lease = this.#hold(item); // before waiting: nobody may let it go in between
    try {
      const loaded = await item.loaded;
      item.bytes = loaded.bytes;
      item.ready = true;
      this.#tidy();
      return { lease, ...loaded };
    } catch (error) {
      if (this.#items.get(name) === item) this.#items.delete(name);
      lease.release();
      throw error;
    }
  }

  /** It was replaced, or taken back. @returns false when it isn't here */
  retire(domain: string, generation: string): boolean {
    const item = this.#items.get(nameOf(domain, generation));
    if (item === undefined) return false;
    item.retired = true;
    this.#tidy();
    return true;
  }

  /** It is gone from memory already. */
  forget(generation: string): void {
    for (const [name, item] of [...this.#items]) if (item.generation === generation) this.#items.delete(name);
    this.#tell();
  }

  /** Least recently used first. */
  list(): Resident[] {
    return [...this.#items.values()].filter(({ ready }) => ready).map(({ domain, generation, bytes, leases, retired }) => ({ domain, generation, bytes, leases, retired }));
  }

  #hold(item: Item): Lease {
    item.leases++;
    this.#leases++;
    const name = nameOf(item.domain, item.generation);
    this.#items.delete(name);
    this.#items.set(name, item);
    this.#tell();
    let held = true;
    return {
      domain: item.domain,
      generation: item.generation,
      release: () => {
        if (!held) return;
        held = false;
        item.leases--;
        this.#leases--;
        this.#tidy();
      },
    };
  }

  #tidy(): void {
    let bytes = this.#bytes();
    if (bytes > this.#options.budgetBytes || [...this.#items.values()].some(({ retired }) => retired))
      for (const item of [...this.#items.values()]) {
        if (item.leases > 0 || !item.ready || (!item.retired && bytes <= this.#options.budgetBytes)) continue;
        this.#items.delete(nameOf(item.domain, item.generation));
        bytes = this.#bytes();
        this.#letGo(item);
      }
    this.#tell();
  }

  #letGo({ generation }: Item): void {
    // The same content may stand under two domains; it lies in memory once.
    if ([...this.#items.values()].some((other) => other.generation === generation)) return;
    this.#options.unload(generation).catch((error: unknown) => this.#options.log.warn({ generation, reason: messageOf(error) }, "adapter could not be unloaded"));
  }

  #bytes(): number {
    const byGeneration = new Map<string, number>();
    for (const { generation, bytes } of this.#items.values()) byGeneration.set(generation, bytes);
    return [...byGeneration.values()].reduce((sum, each) => sum + each, 0);
  }

  #tell(): void {
    this.#options.onChange({ leases: this.#leases, bytes: this.#bytes() });
  }
}

function nameOf(domain: string, generation: string): string {
  return `${domain}@${generation}`;
}
