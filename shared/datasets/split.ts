/**
 * Which side of the split a row is on. Rows that belong together are on one side: near-duplicates, and the turns of one conversation, which all begin alike.
 * Decided once, by digests that depend on nothing but the row, and written on the row: it never changes sides, whatever comes after it.
 */
import { createHash } from "node:crypto";
import { textOf, type Message } from "../events/conversation.ts";
import type { Row } from "./row.ts";

/** What the turns of one conversation have in common: the caller and the first thing that was asked. 32 hex digits. @param messages anonymised */
export function threadOf(caller: string, messages: readonly Message[]): string {
  const opening = messages.find(({ role }) => role === "user");
  const text = opening === undefined ? "" : textOf(opening).normalize("NFKC").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  return createHash("sha256").update(`thread ${caller}\n${text}`).digest("hex").slice(0, 32);
}

/** @param group digest of what must stay together @param share HELD_OUT_SHARE; rows written before it was changed keep their side */
export function splitOf(group: string, share: number): Row["split"] {
  // The first 48 bits: exact in a double, and far finer than any share.
  const draw = createHash("sha256").update(`split ${group}`).digest().readUIntBE(0, 6) / 2 ** 48;
  return draw < share ? "held-out" : "train";
}
