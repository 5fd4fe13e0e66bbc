/**
 * A full segment of the index of near-duplicates on disk: what a million rows need is there, and in memory stays a Bloom filter of 16 bytes a row, which says of
 * nearly all keys that the segment has none of them. The file is a cache without a name, as store/spill.ts makes it.
 */
import type { ArchiveReader, ArchiveWriter } from "../store/archive.ts";
import { Spill, type SpillOptions } from "../store/spill.ts";
import { similarity, sketchWords, type Sketch } from "./minhash.ts";
import { keyAt, type Contents, type Segment } from "./segment.ts";

/** Time, id, cluster, sketch. */
const recordBytes = 8 + 8 + 16 + 4 * sketchWords;
const slotsOfBucket = 16;
const bucketBytes = 4 * slotsOfBucket;
const free = 0xffffffff;
/** Of a key that more rows have than fit into so many buckets the youngest are kept: it is a template's. */
const mostBuckets = 64;

const bucketsFor = (size: number) => 2 ** Math.ceil(Math.log2(Math.max(16, size * 2)));
const bytesFor = (size: number) => bucketsFor(size) * bucketBytes + size * recordBytes;

export function freeze({ size, ids, clusters, times, sketches, eachKey }: Contents, options: SpillOptions): Segment {
  const buckets = bucketsFor(size);
  const file = new Spill(bytesFor(size), { ...options, resident: 0 });
  const filter = new Filter(size);

  const table = new Uint32Array(buckets * slotsOfBucket).fill(free);
  const put = (hash: number, row: number) => {
    filter.add(hash);
    let slot = bucketOf(hash, buckets) * slotsOfBucket;
    for (let tried = 0; tried < mostBuckets * slotsOfBucket; tried++, slot = (slot + 1) & (table.length - 1)) {
      if (table[slot] !== free) continue;
      table[slot] = entryOf(hash, row);
      return;
    }
  };
  for (let row = size - 1; row >= 0; row--) put(idHash(ids[2 * row] ?? 0, ids[2 * row + 1] ?? 0), row);
  eachKey((key, row) => put(mix(key), row));
  file.write(0, Buffer.from(table.buffer));

  const records = Buffer.alloc(1_024 * recordBytes);
  for (let from = 0; from < size; from += 1_024) {
    const count = Math.min(1_024, size - from);
    for (let at = 0; at < count; at++) {
      const row = from + at;
      records.writeDoubleLE(times[row] ?? 0, at * recordBytes);
      for (let word = 0; word < 2; word++) records.writeUInt32LE(ids[2 * row + word] ?? 0, at * recordBytes + 8 + 4 * word);
      for (let word = 0; word < 4; word++) records.writeUInt32LE(clusters[4 * row + word] ?? 0, at * recordBytes + 16 + 4 * word);
      for (let word = 0; word < sketchWords; word++) records.writeUInt32LE(sketches[sketchWords * row + word] ?? 0, at * recordBytes + 32 + 4 * word);
    }
    file.write(buckets * bucketBytes + from * recordBytes, records.subarray(0, count * recordBytes));
  }
  return segmentOn(file, filter, size);
}

/** One of so many rows as it was saved. */
export function restoreFrozen(size: number, from: ArchiveReader, options: SpillOptions): Segment {
  const file = from.spill(bytesFor(size), { ...options, resident: 0 });
  const filter = new Filter(size);
  from.array(filter.bits);
  return segmentOn(file, filter, size);
}

function segmentOn(file: Spill, filter: Filter, size: number): Segment {
  const buckets = bucketsFor(size);
  const record = Buffer.alloc(recordBytes);
  const sketch = new Uint32Array(sketchWords);
  const bucket = Buffer.alloc(bucketBytes);
  const placeOf = (row: number) => buckets * bucketBytes + row * recordBytes;
  const readRecord = (row: number) => file.read(placeOf(row), record);
  /** Rows that may have the key, until `visit` says true. */
  const eachOf = (hash: number, visit: (row: number) => boolean): void => {
    if (!filter.has(hash)) return;
    for (let number = bucketOf(hash, buckets), tried = 0; tried < mostBuckets; tried++, number = (number + 1) & (buckets - 1)) {
      file.read(number * bucketBytes, bucket);
      for (let at = 0; at < bucketBytes; at += 4) {
        const entry = bucket.readUInt32LE(at);
        if (entry === free) return;
        if (entry >>> 16 === tagOf(hash) && visit(entry & 0xffff)) return;
      }
    }
  };
  return {
    capacity: size,
    size,
    bytes: filter.bytes,
    findId(high, low) {
      let found = -1;
      eachOf(idHash(high, low), (row) => {
        readRecord(row);
        if (record.readUInt32LE(8) === high && record.readUInt32LE(12) === low) found = row;
        return found >= 0;
      });
      return found;
    },
    eachNear(wanted: Sketch, least, visit) {
      const looked = new Set<number>();
      let isDone = false;
      for (let band = 0; band < wanted.bands.length && !isDone; band++) {
        eachOf(mix(keyAt(wanted.bands[band] ?? 0, size)), (row) => {
          if (looked.has(row)) return false;
          looked.add(row);
          readRecord(row);
          for (let word = 0; word < sketchWords; word++) sketch[word] = record.readUInt32LE(32 + 4 * word);
          const close = similarity(wanted.words, sketch);
          isDone = close >= least && !visit(row, close);
          return isDone;
        });
      }
    },
    add: () => {
      throw new Error("a frozen segment takes no more rows");
    },
    clusterAt(row) {
      readRecord(row);
      return Uint32Array.from({ length: 4 }, (_, word) => record.readUInt32LE(16 + 4 * word));
    },
    createdAt(row) {
      readRecord(row);
      return record.readDoubleLE(0);
    },
    touch(row, createdAt) {
      readRecord(row);
      if (createdAt <= record.readDoubleLE(0)) return;
      record.writeDoubleLE(createdAt, 0);
      file.write(placeOf(row), record);
    },
    async save(to: ArchiveWriter) {
      await to.spill(file, file.size);
      await to.array(filter.bits);
    },
    close: () => file.close(),
  };
}

/** Bloom's filter (1970) with 7 bits and three places a key: of strange keys it takes 4 in 100 for its own. */
class Filter {
  readonly bits: Uint32Array;

  constructor(rows: number) {
    this.bits = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(32, rows * 4))));
  }

  get bytes(): number {
    return this.bits.byteLength;
  }

  add(hash: number): void {
    for (let at = 0, place = hash; at < 3; at++, place = next(place)) this.bits[this.#word(place)] = (this.bits[this.#word(place)] ?? 0) | (1 << (place & 31));
  }

  has(hash: number): boolean {
    for (let at = 0, place = hash; at < 3; at++, place = next(place)) if (((this.bits[this.#word(place)] ?? 0) & (1 << (place & 31))) === 0) return false;
    return true;
  }

  #word(place: number): number {
    return (place >>> 5) & (this.bits.length - 1);
  }
}

const next = (place: number) => mix(place ^ 0x5bd1e995);
const bucketOf = (hash: number, buckets: number) => (hash >>> 15) & (buckets - 1);
/** Never all ones, so that no entry looks free. */
const tagOf = (hash: number) => Math.imul(hash, 0x9e3779b1) >>> 17;
const entryOf = (hash: number, row: number) => ((tagOf(hash) << 16) | row) >>> 0;
const idHash = (high: number, low: number) => mix(high ^ Math.imul(low, 0xc2b2ae35));

function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
