/** What the table of file formats has in its rows, and what their readers hand over: drafts of conversations, and faults with their place. */
import { createHash } from "node:crypto";
import type { Conversation, Message } from "../../../shared/events/conversation.ts";

/** Where in a file: all from 1. */
export interface Place {
  readonly line?: number;
  readonly column?: number;
  /** The n-th record of a format without lines: an Excel or Parquet row, a member of a JSON object. */
  readonly record?: number;
  /** A sheet or key that helps to find it. */
  readonly within?: string;
}

/** A conversation as a file tells it. */
export interface Draft {
  readonly messages: readonly Message[];
  readonly answer: Message;
  readonly tools?: readonly Record<string, unknown>[];
  readonly domain?: string;
}

/** `message` says what is wrong and never quotes a text. */
export type Item = { readonly at: Place; readonly draft: Draft } | { readonly at: Place; readonly fault: string };

export interface ReadOptions {
  /** Of a text format; undefined: found out. */
  readonly encoding?: string | undefined;
  /** Told how many bytes of the file have been read, now and then. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

export interface FileFormat {
  readonly name: string;
  /** For help and errors. */
  readonly about: string;
  readonly extensions: readonly string[];
  /** Looks at the first characters of a file with one of its extensions, and at no more; formats are asked in the table's order. */
  readonly fits: (head: Head) => boolean;
  readonly read: (path: string, options: ReadOptions) => AsyncGenerator<Item>;
}

/** The beginning of a file. */
export interface Head {
  readonly bytes: Uint8Array;
  /** Decoded as well as it goes. */
  readonly text: string;
}

/** The same content has the same id, in whatever file it stands: to import twice is to import once. */
export function conversationOf(draft: Draft, layout: string, now: number): Conversation {
  const content = JSON.stringify([draft.messages, draft.answer, draft.tools ?? null]);
  return {
    version: 1,
    id: `import-${createHash("sha256").update(content).digest("hex").slice(0, 32)}`,
    createdAt: now,
    caller: "",
    messages: [...draft.messages],
    answer: draft.answer,
    source: "import",
    model: "import",
    generation: null,
    provenance: { from: "file", layout },
    ...(draft.tools === undefined ? {} : { tools: [...draft.tools] }),
    ...(draft.domain === undefined ? {} : { domain: draft.domain }),
  };
}
