/**
 * Keys and values of prompts' beginnings, kept for the next prompt that begins the same: system prompts, and conversations that go on. Stored in blocks of
 * a few positions under a hash of everything before them (as vLLM's automatic prefix caching, Kwon et al. 2023), so that equal beginnings are kept once.
 * The chain begins with the adapter's generation, because another adapter computes other values. Least recently used blocks go first, a
 * block's successors before it. Not responsible for computing or copying.
 */
import { createHash } from "node:crypto";

export const blockLength = 16;

interface Block {
  readonly root: string;
  readonly values: Float32Array;
}

export class PrefixCache {
  readonly #most: number;
  /** Least recently used first. */
  readonly #blocks = new Map<string, Block>();
  #bytes = 0;

  /** @param most bytes; 0 = keep nothing */
  constructor(most: number) {
    this.#most = most;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get entries(): number {
    return this.#blocks.size;
  }

  /** The name of a block of tokens behind what `before` names (the root for the first). */
  static key(before: string, tokens: readonly number[]): string {
    return createHash("sha256").update(before).update(Int32Array.from(tokens)).digest("base64");
  }

  get(key: string): Float32Array | undefined {
    return this.#blocks.get(key)?.values;
  }

  has(key: string): boolean {
    return this.#blocks.has(key);
  }

  /** @param values are kept, not copied; called only where `accepts` */
  put(root: string, key: string, values: Float32Array): void {
    if (values.byteLength > this.#most || this.#blocks.has(key)) return;
    this.#blocks.set(key, { root, values });
    this.#bytes += values.byteLength;
    for (const oldest of this.#blocks.keys()) {
      if (this.#bytes <= this.#most) break;
      this.#drop(oldest);
    }
  }

  /** False where nothing is ever kept: then there is nothing to prepare. */
  get enabled(): boolean {
    return this.#most > 0;
  }

  /** Marks a chain as used, its beginning last: what everything else hangs on is dropped last. */
  touch(chain: readonly string[]): void {
    for (let at = chain.length - 1; at >= 0; at--) {
      const key = chain[at] ?? "";
      const block = this.#blocks.get(key);
      if (block === undefined) continue;
      this.#blocks.delete(key);
      this.#blocks.set(key, block);
    }
  }

  /** Drops everything that an adapter computed. */
  forget(root: string): void {
    for (const [key, block] of this.#blocks) if (block.root === root) this.#drop(key);
  }

  #drop(key: string): void {
    this.#bytes -= this.#blocks.get(key)?.values.byteLength ?? 0;
    this.#blocks.delete(key);
  }
}
