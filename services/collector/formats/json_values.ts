/**
 * The values of a large JSON file one by one, in constant memory: the lines of JSONL, the elements of a top-level array, or the members of a top-level
 * object. Only strings and brackets are looked at here; each value is checked by itself (json_text.ts), so that a bad one costs nothing but itself.
 */
export interface RawValue {
  /** null: longer than the limit, and skipped. */
  readonly text: string | null;
  /** Where it begins, from 1. */
  readonly line: number;
  readonly column: number;
  /** A member's key, as written, without its quotes. */
  readonly key?: string;
}

export type Shape = "lines" | "elements" | "members";

/** In UTF-16 units. A longer value would only be dropped as too long. */
export const longestValue = 16 * 1024 * 1024;

/** @throws nothing for what is in the file: what can't be told apart comes as one value, whose own check will name the fault */
export async function* readValues(chunks: AsyncIterable<string>, shape: Shape, longest = longestValue): AsyncGenerator<RawValue> {
  if (shape === "lines") yield* readTextLines(chunks, longest);
  else yield* readParts(chunks, shape, longest);
}

/** Lines that are not empty. */
async function* readTextLines(chunks: AsyncIterable<string>, longest: number): AsyncGenerator<RawValue> {
  let line = 1;
  let parts: string[] = [];
  let length = 0;
  const keep = (part: string) => {
    length += part.length;
    if (length <= longest) parts.push(part);
    else parts = [];
  };
  const take = (): RawValue | null => {
    const text = length > longest ? null : parts.join("").replace(/\r$/, "");
    const value = text?.trim() === "" ? null : { text, line, column: 1 };
    line++;
    parts = [];
    length = 0;
    return value;
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf("\n"); end >= 0; end = chunk.indexOf("\n", start)) {
      keep(chunk.slice(start, end));
      start = end + 1;
      const value = take();
      if (value !== null) yield value;
    }
    keep(chunk.slice(start));
  }
  const last = take();
  if (last !== null) yield last;
}

const tokens = /["\\{}[\],:\n]/g;

async function* readParts(chunks: AsyncIterable<string>, shape: "elements" | "members", longest: number): AsyncGenerator<RawValue> {
  let depth = 0;
  let inString = false;
  let escaped = false;
  let line = 1;
  /** Of the character before the present chunk's first, so that a column is `at - lineStart`. */
  let lineStart = -1;
  let parts: string[] = [];
  let length = 0;
  let begin: { line: number; column: number } | null = null;
  let key: string | undefined;
  const keep = (text: string) => {
    length += text.length;
    if (length <= longest) parts.push(text);
    else parts = [];
  };
  const take = (): RawValue | null => {
    const text = length > longest ? null : parts.join("").trim();
    const value = begin === null || text === "" ? null : { text, ...begin, ...(key === undefined ? {} : { key }) };
    parts = [];
    length = 0;
    begin = null;
    key = undefined;
    return value;
  };
  for await (const chunk of chunks) {
    let start = 0;
    /** Keeps what stands between two tokens, and notes where a value begins. */
    const upTo = (at: number) => {
      if (depth === 0 || start >= at) {
        start = Math.max(start, at);
        return;
      }
      const text = chunk.slice(start, at);
      if (begin === null) {
        const first = text.search(/\S/);
        if (first >= 0) begin = { line, column: start + first - lineStart };
      }
      if (begin !== null) keep(text);
      start = at;
    };
    if (escaped) {
      escaped = false;
      tokens.lastIndex = 1;
    } else tokens.lastIndex = 0;
    for (let match = tokens.exec(chunk); match !== null; match = tokens.exec(chunk)) {
      const at = match.index;
      const token = match[0];
      if (token === "\n") {
        upTo(at + 1);
        line++;
        lineStart = at;
      } else if (inString) {
        if (token === "\\") {
          if (at + 1 >= chunk.length) escaped = true;
          tokens.lastIndex = at + 2;
        } else if (token === '"') inString = false;
      } else if (token === '"') {
        upTo(at);
        inString = true;
      } else if (token === "{" || token === "[") {
        upTo(at);
        if (depth === 0) start = at + 1;
        depth++;
      } else if (token === "}" || token === "]") {
        depth--;
        if (depth === 0) {
          depth = 1; // what stands before the bracket belongs to the value
          upTo(at);
          depth = 0;
          const value = take();
          if (value !== null) yield value;
          start = at + 1;
        }
      } else if (depth === 1 && token === ",") {
        upTo(at);
        const value = take();
        if (value !== null) yield value;
        start = at + 1;
      } else if (depth === 1 && token === ":" && shape === "members" && key === undefined) {
        upTo(at);
        const name = parts.join("").trim();
        parts = [];
        length = 0;
        begin = null;
        key = name.replace(/^"|"$/g, "");
        start = at + 1;
      }
    }
    upTo(chunk.length);
    lineStart -= chunk.length;
  }
  // The brackets were never closed: what is left is handed over, and its check says so.
  if (depth > 0) {
    const value = take();
    if (value !== null) yield value;
  }
}
