/** Damages JSON values and texts, by a seed: for tests that feed readers with what strangers' files may contain. */
import type { Random } from "../../shared/models/random.ts";

const pick = <T>(random: Random, list: readonly [T, ...T[]]): T => list[Math.floor(random.next() * list.length)] ?? list[0];

const oddities = [null, true, false, 0, -1, 1, 2, 3, 0.5, 1e9, 1e308, -1e308, 2 ** 53, "", "a", "__proto__", "\u0000", [], {}, [[]], [null], ["x"], { a: 1 }, Array.from({ length: 3 }, (_, at) => at)] as const;

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A copy in which one value, anywhere, was replaced, removed, doubled or swapped with a neighbour. */
export function mutateJson(value: unknown, random: Random): unknown {
  const copy = structuredClone(value) as Json;
  const places: { holder: Json[] | { [key: string]: Json }; key: string }[] = [];
  const walk = (node: Json): void => {
    if (node === null || typeof node !== "object") return;
    for (const key of Object.keys(node)) {
      places.push({ holder: node, key });
      walk((node as { [key: string]: Json })[key] ?? null);
    }
  };
  walk(copy);
  if (places.length === 0) return pick(random, oddities);
  const { holder, key } = places[Math.floor(random.next() * places.length)] ?? { holder: [], key: "0" };
  const record = holder as { [key: string]: Json };
  const action = random.next();
  if (action < 0.6) record[key] = structuredClone(pick(random, oddities)) as Json;
  else if (action < 0.8) {
    if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else Reflect.deleteProperty(holder, key);
  } else {
    const other = places[Math.floor(random.next() * places.length)];
    if (other !== undefined) record[key] = structuredClone((other.holder as { [key: string]: Json })[other.key] ?? null);
  }
  return copy;
}

/** A text in which a few characters were changed, cut, doubled or moved. */
export function mutateText(text: string, random: Random): string {
  const at = Math.floor(random.next() * (text.length + 1));
  const length = Math.floor(random.next() * 12);
  switch (Math.floor(random.next() * 5)) {
    case 0:
      return text.slice(0, at) + text.slice(at + length);
    case 1:
      return text.slice(0, at) + text.slice(at, at + length) + text.slice(at);
    case 2:
      return text.slice(0, at) + pick(random, ['"', "{", "}", "[", "]", ",", ":", "\\", "\u0000", "/", "..", "0", "-", "é", "\ud800", " "]) + text.slice(at + Math.floor(random.next() * 2));
    case 3:
      return text.slice(0, at);
    default:
      return text.slice(at) + text.slice(0, at);
  }
}
