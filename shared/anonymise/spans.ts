/** Stretches of text: joined where they overlap, and cut out. */
import type { Found } from "./recogniser.ts";

/** Overlapping stretches become one, so that no end of the shorter one is left behind. The one that was found first names it. */
export function joinOverlaps(found: readonly Found[]): Found[] {
  const ordered = found.map((span, rank) => ({ ...span, rank })).sort((a, b) => a.start - b.start || b.end - a.end);
  const joined: (Found & { rank: number })[] = [];
  for (const span of ordered) {
    const last = joined.at(-1);
    if (last === undefined || span.start >= last.end) joined.push(span);
    else joined[joined.length - 1] = { start: last.start, end: Math.max(last.end, span.end), kind: span.rank < last.rank ? span.kind : last.kind, rank: Math.min(last.rank, span.rank) };
  }
  return joined;
}

/** @param spans without overlaps, in order @param placeholder what is written instead of a value */
export function replaceSpans(text: string, spans: readonly Found[], placeholder: (kind: string, value: string) => string): string {
  let result = "";
  let at = 0;
  for (const { start, end, kind } of spans) {
    result += text.slice(at, start) + placeholder(kind, text.slice(start, end));
    at = end;
  }
  return result + text.slice(at);
}
