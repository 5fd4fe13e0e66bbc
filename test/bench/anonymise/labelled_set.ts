/**
 * The labelled set: sentences written for this project (tuning.txt, held_out.txt), each filled in several times. No sentence is in both halves, so that a
 * recogniser can't do well on one half because it was fitted to the other's wording (as Presidio's own evaluation advises).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { heldOutValues, randomFrom, values } from "./values.ts";

export interface Label {
  readonly start: number;
  readonly end: number;
  readonly kind: string;
}

export interface Labelled {
  readonly text: string;
  readonly labels: readonly Label[];
}

export type Half = "tuning" | "held_out";
const timesFilled = 6;

export function labelledSet(half: Half): Labelled[] {
  const random = randomFrom(half === "tuning" ? 11 : 29);
  const lines = readFileSync(join(import.meta.dirname, `${half}.txt`), "utf8").split("\n");
  const set: Labelled[] = [];
  for (const line of lines) {
    if (line === "" || line.startsWith("#")) continue;
    if (line.startsWith("- ")) set.push({ text: line.slice(2), labels: [] });
    else for (let time = 0; time < timesFilled; time++) set.push(fill(line.replaceAll("⏎", "\n"), half === "tuning" ? values : heldOutValues, random));
  }
  return set;
}

function fill(template: string, made: typeof values, random: () => number): Labelled {
  const labels: Label[] = [];
  let text = "";
  for (const [at, part] of template.split(/[«»]/).entries()) {
    if (at % 2 === 0) {
      text += part;
      continue;
    }
    const make = made[part];
    if (make === undefined) throw new RangeError(`no values for ${part}`);
    let value = make(random);
    // "nº 1234567" and "#1234567": the sign is no part of the number.
    const sign = /^(?:#|nº )/.exec(value)?.[0] ?? "";
    text += sign;
    value = value.slice(sign.length);
    labels.push({ start: text.length, end: text.length + value.length, kind: part });
    text += value;
  }
  return { text, labels };
}
