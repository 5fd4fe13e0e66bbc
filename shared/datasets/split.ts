/**
 * Which side of the split a row is on. Rows that belong together are on one side: near-duplicates, and the turns of one conversation, which all begin alike.
 * Decided once, by digests that depend on nothing but the row, and written on the row: it never changes sides, whatever comes after it.
 */
import { sha256, textOf, type Message } from "../events/conversation.ts";
import type { Row } from "./row.ts";

/** What the turns of one conversation have in common: the caller and the first thing that was asked. 32 hex digits. @param messages anonymised */
export function threadOf(caller: string, messages: readonly Message[]): string {
  if (latest?.messages === messages && latest.caller === caller) return latest.thread;
  const opening = messages.find(({ role }) => role === "user");
  const text = opening === undefined ? "" : textOf(opening).normalize("NFKC").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  const thread = sha256(`thread ${caller}\n${text}`).slice(0, 32);
  latest = { caller, messages, thread };
  return thread;
}

/** It is asked for when a row's side is chosen, and again when the row is remembered. */
let latest: { readonly caller: string; readonly messages: readonly Message[]; readonly thread: string } | undefined;

/** @param group digest of what must stay together @param share HELD_OUT_SHARE; rows written before it was changed keep their side */
export function splitOf(group: string, share: number): Row["split"] {
  // The first 48 bits: exact in a double, and far finer than any share.
  const draw = Number.parseInt(sha256(`split ${group}`).slice(0, 12), 16) / 2 ** 48;
  return draw < share ? "held-out" : "train";
}
