/** What became of each conversation, by its key: 24 bytes for each, on a Spill. */
import { z } from "zod";
import type { ArchiveReader, ArchiveWriter } from "./archive.ts";
import { HashTable } from "./hash_table.ts";
import { Spill, type SpillOptions } from "./spill.ts";

const keyBytes = 16;
const recordBytes = keyBytes + 8;

const savedSchema = z.object({ count: z.int(), reasons: z.array(z.string()) });

export class Known {
  readonly #records: Spill;
  readonly #byKey: HashTable;
  readonly #codes: Map<string, number>;
  readonly #reasons: string[];
  readonly #record = Buffer.alloc(recordBytes);
  #count: number;

  /** @param saved where another one was saved, what is known to which is known to this one */
  constructor(options: SpillOptions, saved?: ArchiveReader) {
    const { count, reasons } = saved?.json(savedSchema) ?? { count: 0, reasons: [] };
    this.#count = count;
    this.#reasons = reasons;
    this.#codes = new Map(reasons.map((reason, code) => [reason, code]));
    const size = recordBytes * 2 ** Math.ceil(Math.log2(Math.max(1_024, count)));
    this.#records = saved?.spill(size, options) ?? new Spill(size, options);
    this.#byKey = new HashTable(options, saved);
  }

  /** How many keys. */
  get count(): number {
    return this.#count;
  }

  async save(to: ArchiveWriter): Promise<void> {
    await to.json({ count: this.#count, reasons: this.#reasons } satisfies z.infer<typeof savedSchema>);
    await to.spill(this.#records, this.#count * recordBytes);
    await this.#byKey.save(to);
  }

  /** "row", the reason of its drop, or undefined. @param key 32 hex digits */
  get(key: string): string | undefined {
    const number = this.#find(key);
    return number === null ? undefined : this.#reasons[this.#record[keyBytes] ?? 0];
  }

  set(key: string, reason: string): void {
    this.#put(key, reason, this.#find(key));
  }

  /** The same where nothing is known of the key; what is known stays. */
  add(key: string, reason: string): void {
    if (this.#find(key) === null) this.#put(key, reason, null);
  }

  /** @param there its number, if it has one */
  #put(key: string, reason: string, there: number | null): void {
    const code = this.#codes.get(reason) ?? this.#reasons.push(reason) - 1;
    this.#codes.set(reason, code);
    this.#record.write(key, 0, keyBytes, "hex");
    this.#record[keyBytes] = code;
    const number = there ?? this.#count++;
    if ((number + 1) * recordBytes > this.#records.size) this.#records.grow(this.#records.size * 2);
    this.#records.write(number * recordBytes, this.#record);
    if (there === null) this.#byKey.add(Number.parseInt(key.slice(0, 8), 16), number);
  }

  close(): void {
    this.#records.close();
    this.#byKey.close();
  }

  /** Leaves the record in #record. */
  #find(key: string): number | null {
    for (const number of this.#byKey.get(Number.parseInt(key.slice(0, 8), 16))) {
      this.#records.read(number * recordBytes, this.#record);
      if (this.#record.toString("hex", 0, keyBytes) === key) return number;
    }
    return null;
  }
}
