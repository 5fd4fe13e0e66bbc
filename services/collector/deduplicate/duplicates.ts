/**
 * What has been collected already, by content: the same messages (by id) and nearly the same (MinHash, J ≥ 0.8), over all domains, so that no row and its
 * near-duplicate are on different sides of the split. A row that is too old to be trained on blocks nothing, but lends its cluster to what repeats it.
 */
import { z } from "zod";
import type { Row } from "../../../shared/datasets/row.ts";
import { sha256, textOf, type Message } from "../../../shared/events/conversation.ts";
import { freeze, restoreFrozen } from "./frozen.ts";
import { sketchOf, type Sketch } from "./minhash.ts";
import type { ArchiveReader, ArchiveWriter } from "../store/archive.ts";
import type { SpillOptions } from "../store/spill.ts";
import { createSegment, largestCapacity, type LiveSegment, type Segment } from "./segment.ts";

const leastSimilarity = 0.8;

/** What the search needs of a row. */
export type Content = Pick<Row, "id" | "cluster" | "createdAt" | "messages">;

export interface Match {
  readonly reason: "duplicate" | "near_duplicate";
  readonly cluster: string;
  readonly createdAt: number;
}

export interface Duplicates {
  readonly size: number;
  /** Bytes of memory: about 210 a row for the newest 130,000 or so, 16 for what lies on disk. */
  readonly bytes: number;
  /** The closest row with the same or nearly the same content, the same one first. */
  find(content: Pick<Content, "id" | "messages">): Match | null;
  add(content: Content): void;
  save(to: ArchiveWriter): Promise<void>;
  close(): void;
}

/** `full`: the place of the full one of the largest size that is in memory, -1 for none. */
const savedSchema = z.object({ segments: z.array(z.object({ frozen: z.boolean(), capacity: z.int().max(largestCapacity), size: z.int() })), full: z.int(), otherClusters: z.array(z.tuple([z.string(), z.string()])) });

/** Each segment is as large as all before it together, up to the largest: few to look into, and never much more memory than rows. The newest of the largest and those before it stay in memory. */
const firstCapacity = 4_096;

/** @param options where full segments go; without, all stay in memory @param largest rows of a segment, a power of two @param saved where others were saved */
export function createDuplicates(options?: SpillOptions, largest = largestCapacity, saved?: ArchiveReader): Duplicates {
  const segments: Segment[] = [];
  /** The last of them, which takes rows. */
  let open: LiveSegment | undefined;
  /** The full one of the largest size that is still in memory. */
  let full: { readonly segment: LiveSegment; readonly at: number } | undefined;
  const openNext = (): LiveSegment => {
    if (options !== undefined && open?.capacity === largest) {
      if (full !== undefined) segments[full.at] = freeze(full.segment.contents(), options);
      full = { segment: open, at: segments.length - 1 };
    }
    open = createSegment(Math.min(largest, open === undefined ? firstCapacity : 2 * open.capacity));
    segments.push(open);
    return open;
  };
  const before = saved?.json(savedSchema);
  /** Clusters whose name is no id of ours. */
  const otherClusters = new Map<string, string>(before?.otherClusters);
  if (before !== undefined && saved !== undefined) {
    for (const [at, { frozen, capacity, size }] of before.segments.entries()) {
      if (frozen && options !== undefined) segments.push(restoreFrozen(size, saved, options));
      else {
        open = createSegment(capacity, { size, from: saved });
        if (at === before.full) full = { segment: open, at };
        segments.push(open);
      }
    }
  }
  // The sketch of what was just looked for is what is added next.
  let last: { id: string; sketch: Sketch } | undefined;
  const sketch = (content: Pick<Content, "id" | "messages">) => {
    if (last?.id !== content.id) last = { id: content.id, sketch: sketchOf(spokenText(content.messages)) };
    return last.sketch;
  };
  const clusterOf = (segment: Segment, row: number) => {
    const hex = hexOf(segment.clusterAt(row));
    return otherClusters.get(hex) ?? hex;
  };
  const sameContent = ([high = 0, low = 0]: Uint32Array) => {
    for (const segment of segments) {
      const row = segment.findId(high, low);
      if (row >= 0) return { segment, row };
    }
    return null;
  };
  return {
    get size() {
      return segments.reduce((sum, segment) => sum + segment.size, 0);
    },
    get bytes() {
      return segments.reduce((sum, segment) => sum + segment.bytes, 0);
    },
    find(content) {
      const same = sameContent(wordsOfHex(content.id));
      if (same !== null) return { reason: "duplicate", cluster: clusterOf(same.segment, same.row), createdAt: same.segment.createdAt(same.row) };
      const wanted = sketch(content);
      let best: { segment: Segment; row: number } | undefined;
      let closest = 0;
      for (const segment of segments) {
        segment.eachNear(wanted, leastSimilarity, (row, close) => {
          // Of equals the youngest: it is the one that may still be in the window.
          if (best === undefined || close > closest || (close === closest && segment.createdAt(row) > best.segment.createdAt(best.row))) [best, closest] = [{ segment, row }, close];
          return true;
        });
      }
      return best === undefined ? null : { reason: "near_duplicate", cluster: clusterOf(best.segment, best.row), createdAt: best.segment.createdAt(best.row) };
    },
    add(content) {
      const id = wordsOfHex(content.id);
      const same = sameContent(id);
      if (same !== null) {
        same.segment.touch(same.row, content.createdAt);
        return;
      }
      const segment = open === undefined || open.size === open.capacity ? openNext() : open;
      const [high = 0, low = 0] = id;
      const cluster = content.cluster === content.id ? id : wordsOfHex(content.cluster);
      if (!isHex(content.cluster)) otherClusters.set(hexOf(cluster), content.cluster);
      segment.add(high, low, cluster, content.createdAt, sketch(content));
    },
    async save(to) {
      const facts = segments.map((segment) => ({ frozen: !("contents" in segment), capacity: segment.capacity, size: segment.size }));
      await to.json({ segments: facts, full: full?.at ?? -1, otherClusters: [...otherClusters] } satisfies z.infer<typeof savedSchema>);
      for (const segment of segments) await segment.save(to);
    },
    close() {
      for (const segment of segments) segment.close();
    },
  };
}

/** The id of a row: the same messages have the same one, whatever their outer spaces. */
export function contentId(messages: readonly Message[]): string {
  const parts = messages.map((message) => [message.role, textOf(message).replace(/\s\s+|[^\S ]/g, " ").trim(), message.tool_calls ?? null]);
  return sha256(JSON.stringify(parts)).slice(0, 32);
}

/** What was said. A system prompt is the same in thousands of conversations and would make all of them look alike. */
function spokenText(messages: readonly Message[]): string {
  let text = "";
  for (const message of messages) {
    if (message.role !== "system" && message.role !== "developer") text += `${textOf(message)}${message.tool_calls === undefined ? "" : JSON.stringify(message.tool_calls)}\n`;
  }
  return text;
}

const isHex = (id: string) => /^[0-9a-f]{32}$/.test(id);

/** 128 bits as four numbers; what is no such id is hashed to one. */
function wordsOfHex(id: string): Uint32Array {
  const hex = isHex(id) ? id : sha256(id);
  const words = new Uint32Array(4);
  for (let at = 0; at < 4; at++) words[at] = Number.parseInt(hex.slice(8 * at, 8 * at + 8), 16);
  return words;
}

const hexOf = (words: Uint32Array) => Array.from(words, (word) => word.toString(16).padStart(8, "0")).join("");
