/**
 * Which side of the split a row is on. By a hash of its near-duplicate cluster and nothing else: a row never changes sides, whatever comes after it,
 * and two near-duplicates are never on different sides.
 */
import { createHash } from "node:crypto";
import type { Row } from "./row.ts";

/** @param share HELD_OUT_SHARE; rows written before it was changed keep their side */
export function splitOf(cluster: string, share: number): Row["split"] {
  // The first 48 bits: exact in a double, and far finer than any share.
  const draw = createHash("sha256").update(`split ${cluster}`).digest().readUIntBE(0, 6) / 2 ** 48;
  return draw < share ? "held-out" : "train";
}
