/** Stretches of text: joined where they overlap, and cut out. */
import type { Found } from "./recogniser.ts";

/** Overlapping stretches become one, so that no end of the shorter one is left behind. The one that was found first names it. */
export function joinOverlaps(found: readonly Found[]): Found[] {
  if (found.length < 2) return [...found];
  const order = found.map((_, rank) => rank).sort((a, b) => byPlace(found[a], found[b]));
  const joined: Found[] = [];
  let lowest = 0; // rank of the last one's name
  for (const rank of order) {
    const span = found[rank];
    const last = joined.at(-1);
    if (span === undefined) continue;
    if (last === undefined || span.start >= last.end) {
      joined.push(span);
      lowest = rank;
      continue;
    }
    if (span.end > last.end || rank < lowest) joined[joined.length - 1] = { start: last.start, end: Math.max(last.end, span.end), kind: rank < lowest ? span.kind : last.kind };
    lowest = Math.min(lowest, rank);
  }
  return joined;
}

const byPlace = (a: Found | undefined, b: Found | undefined) => (a === undefined || b === undefined ? 0 : a.start - b.start || b.end - a.end);

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
