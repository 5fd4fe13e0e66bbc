/**
 * From 32-bit hashes to small numbers, on a Spill: open addressing with linear probing, 8 bytes a slot (the hash, and the number + 1). One hash may have several
 * numbers, and different things may have the same hash: who must be sure compares what the number stands for.
 */
import { z } from "zod";
import type { ArchiveReader, ArchiveWriter } from "./archive.ts";
import { Spill, type SpillOptions } from "./spill.ts";

const slotBytes = 8;
/** Slots that one read brings: probing rarely goes further. */
const glance = 32;
const fullest = 0.6;

export class HashTable {
  readonly #options: SpillOptions;
  #bits: number;
  #spill: Spill;
  #count = 0;
  readonly #buffer = Buffer.alloc(glance * slotBytes);
  readonly #slot = Buffer.alloc(slotBytes);

  /** @param saved where another one was saved, whose numbers it has then */
  constructor(options: SpillOptions, saved?: ArchiveReader) {
    this.#options = options;
    const { bits, count } = saved?.json(savedSchema) ?? { bits: 10, count: 0 };
    this.#bits = bits;
    this.#count = count;
    this.#spill = saved?.spill(2 ** bits * slotBytes, options) ?? new Spill(2 ** bits * slotBytes, options);
  }

  async save(to: ArchiveWriter): Promise<void> {
    await to.json({ bits: this.#bits, count: this.#count } satisfies z.infer<typeof savedSchema>);
    await to.spill(this.#spill, this.#spill.size);
  }

  get count(): number {
    return this.#count;
  }

  get #slots(): number {
    return this.#spill.size / slotBytes;
  }

  /** The numbers of a hash. @param most no more than so many */
  get(hash: number, most = Infinity): number[] {
    const found: number[] = [];
    this.#probe(hash, (bytes, at) => {
      const value = bytes.readUInt32LE(at + 4);
      if (value === 0) return true;
      if (bytes.readUInt32LE(at) === hash >>> 0) found.push(value - 1);
      return found.length >= most;
    });
    return found;
  }

  /** Adds a number to those of a hash. Callers see to it that one hash has few: a run of equal ones is walked through each time. */
  add(hash: number, value: number): void {
    if (this.#count + 1 > this.#slots * fullest) this.#double();
    this.#put(hash, value + 1);
    this.#count++;
  }

  close(): void {
    this.#spill.close();
  }

  #put(hash: number, stored: number): void {
    const slot = this.#probe(hash, (bytes, at) => bytes.readUInt32LE(at + 4) === 0);
    this.#slot.writeUInt32LE(hash >>> 0, 0);
    this.#slot.writeUInt32LE(stored, 4);
    this.#spill.write(slot * slotBytes, this.#slot);
  }

  /** Looks at slot after slot until `done`, and says where that was. There is always a free one. */
  #probe(hash: number, done: (bytes: Buffer, at: number) => boolean): number {
    const slots = this.#slots;
    const { bytes } = this.#spill;
    let slot = homeOf(hash, this.#bits);
    if (bytes !== null) {
      while (!done(bytes, slot * slotBytes)) slot = (slot + 1) & (slots - 1);
      return slot;
    }
    for (;;) {
      const count = Math.min(glance, slots - slot);
      this.#spill.read(slot * slotBytes, count === glance ? this.#buffer : this.#buffer.subarray(0, count * slotBytes));
      for (let at = 0; at < count; at++) if (done(this.#buffer, at * slotBytes)) return slot + at;
      slot = (slot + count) & (slots - 1);
    }
  }

  /**
   * Twice the slots. An entry's home is the top bits of its scattered hash, so whoever goes through the old table in order fills the new one nearly in order:
   * a window that slides over it takes all entries, and the file is written from its beginning to its end instead of here and there.
   */
  #double(): void {
    const old = this.#spill;
    const oldSlots = this.#slots;
    this.#bits++;
    this.#spill = new Spill(oldSlots * 2 * slotBytes, this.#options);
    const slide = new Slide(this.#spill, oldSlots * 2);
    const late: [hash: number, stored: number][] = [];
    const chunk = Buffer.alloc(Math.min(oldSlots, 8_192) * slotBytes);
    for (let from = 0; from < old.size; from += chunk.length) {
      old.read(from, chunk);
      for (let at = 0; at < chunk.length; at += slotBytes) {
        const stored = chunk.readUInt32LE(at + 4);
        if (stored === 0) continue;
        const hash = chunk.readUInt32LE(at);
        if (!slide.put(homeOf(hash, this.#bits), hash, stored)) late.push([hash, stored]);
      }
    }
    slide.end();
    old.close();
    // Those that probing had carried round the table's end.
    for (const [hash, stored] of late) this.#put(hash, stored);
  }
}

const savedSchema = z.object({ bits: z.int().min(1).max(32), count: z.int() });

/** The part of a table that is being filled. */
class Slide {
  static readonly slots = 65_536;
  readonly #spill: Spill;
  readonly #tableSlots: number;
  readonly #bytes: Buffer;
  #base = 0;

  constructor(spill: Spill, tableSlots: number) {
    this.#spill = spill;
    this.#tableSlots = tableSlots;
    this.#bytes = Buffer.alloc(Math.min(Slide.slots, tableSlots) * slotBytes);
  }

  /** false: its home is not under the window, now or ever. */
  put(home: number, hash: number, stored: number): boolean {
    const width = this.#bytes.length / slotBytes;
    while (home >= this.#base + (width * 3) / 4 && this.#base + width < this.#tableSlots) this.#advance(width / 2);
    for (let slot = home - this.#base; slot >= 0 && slot < width; slot++) {
      if (this.#bytes.readUInt32LE(slot * slotBytes + 4) !== 0) continue;
      this.#bytes.writeUInt32LE(hash, slot * slotBytes);
      this.#bytes.writeUInt32LE(stored, slot * slotBytes + 4);
      return true;
    }
    return false;
  }

  end(): void {
    this.#spill.write(this.#base * slotBytes, this.#bytes);
  }

  #advance(slots: number): void {
    this.#spill.write(this.#base * slotBytes, this.#bytes.subarray(0, slots * slotBytes));
    this.#bytes.copyWithin(0, slots * slotBytes);
    this.#bytes.fill(0, this.#bytes.length - slots * slotBytes);
    this.#base += slots;
  }
}

function homeOf(hash: number, bits: number): number {
  // Multiplication spreads neighbours; the top bits are the best mixed ones.
  const scattered = Math.imul(hash ^ (hash >>> 16), 0x9e3779b1);
  return (scattered ^ Math.imul(scattered >>> 15, 0x85ebca6b)) >>> (32 - bits);
}
