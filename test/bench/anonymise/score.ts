/** Precision, recall and F1 of found stretches against labels. */
import type { Label, Labelled } from "./labelled_set.ts";

export interface Tally {
  /** Labels that were found whole, under their kind. */
  found: number;
  labels: number;
  /** Stretches of this kind that no label of this kind asked for. */
  wrong: number;
}

export interface Score {
  readonly byKind: ReadonlyMap<string, Tally>;
  /** Labels of which every character was replaced, under whatever kind: what privacy is about. */
  readonly hidden: number;
  readonly labels: number;
  /** What went wrong, for tuning. */
  readonly faults: readonly string[];
}

export function score(set: readonly Labelled[], find: (text: string) => readonly Label[]): Score {
  const byKind = new Map<string, Tally>();
  const tallyOf = (kind: string): Tally => {
    const tally = byKind.get(kind) ?? { found: 0, labels: 0, wrong: 0 };
    byKind.set(kind, tally);
    return tally;
  };
  let hidden = 0;
  let labels = 0;
  const faults: string[] = [];
  for (const { text, labels: wanted } of set) {
    const found = find(text);
    for (const label of wanted) {
      labels++;
      const tally = tallyOf(label.kind);
      tally.labels++;
      if (found.some((span) => span.kind === label.kind && span.start <= label.start && span.end >= label.end)) tally.found++;
      else faults.push(`missed ${label.kind} «${text.slice(label.start, label.end)}» in ${JSON.stringify(text)}; found ${JSON.stringify(found.map((span) => `${span.kind} ${text.slice(span.start, span.end)}`))}`);
      if (Array.from({ length: label.end - label.start }, (_, at) => label.start + at).every((at) => /\s/.test(text.charAt(at)) || found.some((span) => span.start <= at && span.end > at))) hidden++;
    }
    for (const span of found) {
      if (wanted.some((label) => label.kind === span.kind && label.start < span.end && span.start < label.end)) continue;
      tallyOf(span.kind).wrong++;
      faults.push(`wrong ${span.kind} «${text.slice(span.start, span.end)}» in ${JSON.stringify(text)}`);
    }
  }
  return { byKind, hidden, labels, faults };
}

export function figures({ found, labels, wrong }: Tally): { precision: number; recall: number; f1: number } {
  const precision = found + wrong === 0 ? 1 : found / (found + wrong);
  const recall = labels === 0 ? 1 : found / labels;
  return { precision, recall, f1: precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall) };
}

/** All kinds but some, added up. */
export function sumOf(score: Score, isIn: (kind: string) => boolean): Tally {
  const sum: Tally = { found: 0, labels: 0, wrong: 0 };
  for (const [kind, tally] of score.byKind) {
    if (!isIn(kind)) continue;
    sum.found += tally.found;
    sum.labels += tally.labels;
    sum.wrong += tally.wrong;
  }
  return sum;
}
