/**
 * What has been collected already, by content: the same messages (by id) and nearly the same (MinHash, J ≥ 0.8), over all domains, so that no row and its
 * near-duplicate are on different sides of the split. A row that is too old to be trained on blocks nothing, but lends its cluster to what repeats it.
 */
import { createHash } from "node:crypto";
import type { Row } from "../../../shared/datasets/row.ts";
import { textOf, type Message } from "../../../shared/events/conversation.ts";
import { bandKeys, signatureOf, similarity } from "./minhash.ts";

export const leastSimilarity = 0.8;

/** What the search needs of a row. */
export type Content = Pick<Row, "id" | "cluster" | "createdAt" | "messages">;

export interface Match {
  readonly reason: "duplicate" | "near_duplicate";
  readonly cluster: string;
  readonly createdAt: number;
}

interface Entry {
  readonly id: string;
  readonly cluster: string;
  createdAt: number;
  readonly signature: Uint32Array;
}

export interface Duplicates {
  /** The closest row with the same or nearly the same content, the same one first. */
  find(content: Pick<Content, "id" | "messages">): Match | null;
  add(content: Content): void;
}

export function createDuplicates(): Duplicates {
  const byId = new Map<string, Entry>();
  const byBand = new Map<number, Entry[]>();
  // The sketch of what was just looked for is what is added next.
  let last: { id: string; signature: Uint32Array } | undefined;
  const sketch = (content: Pick<Content, "id" | "messages">) => {
    if (last?.id !== content.id) last = { id: content.id, signature: signatureOf(spokenText(content.messages)) };
    return last.signature;
  };
  return {
    find(content) {
      const same = byId.get(content.id);
      if (same !== undefined) return { reason: "duplicate", cluster: same.cluster, createdAt: same.createdAt };
      const signature = sketch(content);
      let best: Entry | undefined;
      let closest = 0;
      const seen = new Set<Entry>();
      for (const key of bandKeys(signature)) {
        for (const entry of byBand.get(key) ?? []) {
          if (seen.has(entry)) continue;
          seen.add(entry);
          const close = similarity(signature, entry.signature);
          // Of equals the youngest: it is the one that may still be in the window.
          if (close >= leastSimilarity && (close > closest || (close === closest && entry.createdAt > (best?.createdAt ?? 0)))) [best, closest] = [entry, close];
        }
      }
      return best === undefined ? null : { reason: "near_duplicate", cluster: best.cluster, createdAt: best.createdAt };
    },
    add(content) {
      const known = byId.get(content.id);
      if (known !== undefined) {
        known.createdAt = Math.max(known.createdAt, content.createdAt);
        return;
      }
      const entry: Entry = { id: content.id, cluster: content.cluster, createdAt: content.createdAt, signature: sketch(content) };
      byId.set(entry.id, entry);
      for (const key of bandKeys(entry.signature)) {
        const there = byBand.get(key);
        if (there === undefined) byBand.set(key, [entry]);
        else there.push(entry);
      }
    },
  };
}

/** The id of a row: the same messages have the same one, whatever their outer spaces. */
export function contentId(messages: readonly Message[]): string {
  const parts = messages.map((message) => [message.role, textOf(message).replace(/\s+/g, " ").trim(), message.tool_calls ?? null]);
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}

/** What was said. A system prompt is the same in thousands of conversations and would make all of them look alike. */
function spokenText(messages: readonly Message[]): string {
  return messages
    .filter((message) => message.role !== "system" && message.role !== "developer")
    .map((message) => textOf(message) + (message.tool_calls === undefined ? "" : JSON.stringify(message.tool_calls)))
    .join("\n");
}
