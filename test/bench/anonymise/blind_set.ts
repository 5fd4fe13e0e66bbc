/** Reads the blind set: sentences of which the labels are in the text (the head of blind_pt.txt says how). Everything is the same at every call. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { blindValue } from "./blind_values.ts";
import type { Label, Labelled } from "./labelled_set.ts";
import { randomFrom } from "./values.ts";

export type BlindLanguage = "pt" | "en";

/** One entry a sentence, each filled in once. @throws RangeError for a mark that doesn't close or a kind without values. */
export function blindSet(language: BlindLanguage): Labelled[] {
  const random = randomFrom(language === "pt" ? 1822 : 1776);
  return readFileSync(join(import.meta.dirname, `blind_${language}.txt`), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => read(line.replace(/^- /, "").replaceAll(" ⏎", "\n").replaceAll("⏎", "\n"), random));
}

function read(line: string, random: () => number): Labelled {
  const labels: Label[] = [];
  let text = "";
  for (const [at, part] of line.split(/[«»]/).entries()) {
    if (at % 2 === 0) {
      text += part;
      continue;
    }
    const [name = "", written] = part.split("|");
    const value = written ?? blindValue(name, random);
    if (/^[A-Z]/.test(name)) labels.push({ start: text.length, end: text.length + value.length, kind: name.split(".")[0] ?? name });
    text += value;
  }
  if ((line.match(/[«»]/g) ?? []).length % 2 === 1) throw new RangeError(`a mark that doesn't close: ${line}`);
  return { text, labels };
}
