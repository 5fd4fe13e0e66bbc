/**
 * Pairs of questions in Portuguese and English, written for this project: pt.txt and en.txt hold those that a cache must never take for one another,
 * same.txt those that it may. Used by the test of the gates and by the bench.
 */
import { readFileSync } from "node:fs";

export interface Pair {
  readonly kind: string;
  readonly one: string;
  readonly other: string;
}

/** Each two variants of each line. */
export function adversarialPairs(): Pair[] {
  return ["pt.txt", "en.txt"].flatMap((file) => linesOf(file).flatMap(pairsOf));
}

/** Same meaning; `kind` is the language. */
export function paraphrases(): Pair[] {
  return linesOf("same.txt").map((line) => {
    const [kind = "", one = "", other = ""] = line.split(" | ");
    return { kind, one, other };
  });
}

function linesOf(file: string): string[] {
  return readFileSync(new URL(file, import.meta.url), "utf8").split("\n").filter((line) => line.trim() !== "" && !line.startsWith("# "));
}

function pairsOf(line: string): Pair[] {
  const [kind = "", sentence = ""] = [line.slice(0, line.indexOf(" | ")), line.slice(line.indexOf(" | ") + 3)];
  const slot = /\{([^}]*)\}/.exec(sentence);
  if (slot === null) throw new RangeError(`no {a|b} in: ${line}`);
  const variants = (slot[1] ?? "").split("|").map((variant) => sentence.replace(slot[0], () => variant));
  return variants.flatMap((one, at) => variants.slice(at + 1).map((other) => ({ kind, one, other })));
}
