/**
 * Which side of the split each cluster and each thread is on, as the rows that are there have it. So a row that joins them goes where they are,
 * even when HELD_OUT_SHARE has been changed since.
 */
import { splitOf, threadOf } from "../../../shared/datasets/split.ts";
import type { Row } from "../../../shared/datasets/row.ts";
import type { ArchiveReader, ArchiveWriter } from "./archive.ts";
import { Known } from "./known.ts";
import type { SpillOptions } from "./spill.ts";

export type Side = Row["split"];

export interface Sides {
  /** null: cluster and thread are on different sides already, so the row can be on neither. */
  sideFor(cluster: string, thread: string, share: number): Side | null;
  add(row: Pick<Row, "cluster" | "caller" | "messages" | "split">): void;
  save(to: ArchiveWriter): Promise<void>;
  close(): void;
}

/** @param saved where others were saved */
export function createSides(options: SpillOptions, saved?: ArchiveReader): Sides {
  const sides = new Known(options, saved);
  const keep = (key: string, side: Side) => {
    if (isDigest(key)) sides.add(key, side);
  };
  const get = (key: string) => (isDigest(key) ? (sides.get(key) as Side | undefined) : undefined);
  return {
    sideFor(cluster, thread, share) {
      const [ofCluster, ofThread] = [get(cluster), get(thread)];
      if (ofCluster !== undefined && ofThread !== undefined && ofCluster !== ofThread) return null;
      return ofCluster ?? ofThread ?? splitOf(thread, share);
    },
    add({ cluster, caller, messages, split }) {
      keep(cluster, split);
      keep(threadOf(caller, messages), split);
    },
    save: (to) => sides.save(to),
    close: () => sides.close(),
  };
}

/** Clusters are named by their first row's id; what an older version called otherwise is looked up nowhere. */
const isDigest = (key: string) => /^[0-9a-f]{32}$/.test(key);
