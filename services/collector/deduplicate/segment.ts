/**
 * A part of the index of near-duplicates: a fixed number of rows in typed arrays, about 210 bytes a row. Nothing is ever moved or hashed again: when a
 * segment is full the next, larger one is opened. Memory that no row has touched is not resident.
 */
import type { ArchiveReader, ArchiveWriter } from "../store/archive.ts";
import { bands, similarity, sketchWords, type Sketch } from "./minhash.ts";

export interface Segment {
  readonly capacity: number;
  readonly size: number;
  /** Bytes of its arrays. */
  readonly bytes: number;
  /** The row with this id, or -1. @param high first 32 bits of the id, @param low next 32 bits */
  findId(high: number, low: number): number;
  /** Rows that share a band with the sketch, each once, with their estimated similarity; stops when `visit` says false. */
  eachNear(sketch: Sketch, least: number, visit: (row: number, close: number) => boolean): void;
  /** @returns the row's number */
  add(high: number, low: number, cluster: Uint32Array, createdAt: number, sketch: Sketch): number;
  clusterAt(row: number): Uint32Array;
  createdAt(row: number): number;
  /** Only ever later. */
  touch(row: number, createdAt: number): void;
  save(to: ArchiveWriter): Promise<void>;
  close(): void;
}

export interface LiveSegment extends Segment {
  /** All that is in it, for who puts it on disk (frozen.ts). */
  contents(): Contents;
}

export interface Contents {
  readonly size: number;
  readonly ids: Uint32Array;
  readonly clusters: Uint32Array;
  readonly times: Float64Array;
  readonly sketches: Uint32Array;
  /** Each key of each row, the youngest rows first. */
  eachKey(this: void, visit: (key: number, row: number) => void): void;
}

/** @param saved where one of this capacity was saved, with so many rows */
export function createSegment(capacity: number, saved?: { readonly size: number; readonly from: ArchiveReader }): LiveSegment {
  const heads = new Uint32Array(capacity * 8); // chains of about two rows
  const links = new Uint32Array(capacity * bands);
  const idHeads = new Int32Array(capacity);
  const idLinks = new Int32Array(capacity);
  const ids = new Uint32Array(capacity * 2);
  const clusters = new Uint32Array(capacity * 4);
  const times = new Float64Array(capacity);
  const sketches = new Uint32Array(capacity * sketchWords);
  /** When a row was last looked at, so that it is compared once though it shares many bands. */
  const looked = new Uint32Array(capacity);
  const arrays = [heads, links, idHeads, idLinks, ids, clusters, times, sketches, looked];
  const headMask = heads.length - 1;
  let look = 0;
  let size = saved?.size ?? 0;
  /** All but the looks, as far as there are rows. */
  const used = () => [heads, idHeads, links.subarray(0, size * bands), idLinks.subarray(0, size), ids.subarray(0, size * 2), clusters.subarray(0, size * 4), times.subarray(0, size), sketches.subarray(0, size * sketchWords)];
  if (saved !== undefined) for (const array of used()) saved.from.array(array);
  return {
    capacity,
    bytes: arrays.reduce((sum, array) => sum + array.byteLength, 0),
    get size() {
      return size;
    },
    findId(high, low) {
      // Links hold a row's number plus one; 0 ends a chain.
      for (let link = idHeads[high & (capacity - 1)] ?? 0; link !== 0; link = idLinks[link - 1] ?? 0) {
        if (ids[2 * link - 2] === high && ids[2 * link - 1] === low) return link - 1;
      }
      return -1;
    },
    eachNear(sketch, least, visit) {
      if (size === 0) return;
      look = look === 0xffffffff ? 1 : look + 1;
      let compared = 0;
      for (let band = 0; band < bands; band++) {
        const key = sketch.bands[band] ?? 0;
        const tag = key & tagMask;
        let link = heads[(Math.imul(key, 0x9e3779b1) >>> 7) & headMask] ?? 0;
        while (link !== 0) {
          const place = (link & placeMask) - 1;
          const wanted = (link & tagMask) === tag;
          link = links[place] ?? 0;
          if (!wanted) continue;
          const row = Math.floor(place / bands);
          if (looked[row] === look) continue;
          looked[row] = look;
          const close = similarity(sketch.words, sketches, row * sketchWords);
          if (close >= least && !visit(row, close)) return;
          if (++compared > mostCompared) return;
        }
      }
    },
    add(high, low, cluster, createdAt, sketch) {
      const row = size++;
      ids[2 * row] = high;
      ids[2 * row + 1] = low;
      idLinks[row] = idHeads[high & (capacity - 1)] ?? 0;
      idHeads[high & (capacity - 1)] = row + 1;
      clusters.set(cluster, 4 * row);
      times[row] = createdAt;
      sketches.set(sketch.words, row * sketchWords);
      for (let band = 0; band < bands; band++) {
        const key = sketch.bands[band] ?? 0;
        const head = (Math.imul(key, 0x9e3779b1) >>> 7) & headMask;
        const place = row * bands + band;
        links[place] = heads[head] ?? 0;
        heads[head] = ((key & tagMask) | (place + 1)) >>> 0;
      }
      return row;
    },
    clusterAt: (row) => clusters.slice(4 * row, 4 * row + 4),
    createdAt: (row) => times[row] ?? 0,
    touch(row, createdAt) {
      if (createdAt > (times[row] ?? 0)) times[row] = createdAt;
    },
    async save(to) {
      for (const array of used()) await to.array(array);
    },
    close: () => undefined,
    contents: () => ({
      size,
      ids,
      clusters,
      times,
      sketches,
      eachKey(visit) {
        // Chains begin with their youngest row.
        for (let head = 0; head < heads.length; head++) {
          for (let link = heads[head] ?? 0; link !== 0; ) {
            const place = (link & placeMask) - 1;
            visit((head << tagBits) | (link >>> placeBits), Math.floor(place / bands));
            link = links[place] ?? 0;
          }
        }
      },
    }),
  };
}

/** A link is the place of the next one plus one, and above it bits of the band's key: most rows that only share a chain are not even looked up. */
const placeBits = 23;
const placeMask = (1 << placeBits) - 1;
const tagMask = ~placeMask;
const tagBits = 32 - placeBits;
/** The rows of a frozen segment have numbers of 16 bits. */
export const largestCapacity = 1 << 16;

/** What is left of a band's key in a segment of so many rows: the head of its chain and the tag. */
export function keyAt(key: number, capacity: number): number {
  return (((Math.imul(key, 0x9e3779b1) >>> 7) & (capacity * 8 - 1)) << tagBits) | (key >>> placeBits);
}

/** A text that shares a band with more rows than this is a template; the newest of each band are looked at first. */
const mostCompared = 20_000;
