/** Questions for the bench: public ones where their folder is there (EVERLORA_DATA=<folder with banking77 and clinc150>), and made-up ones that all fall into one partition. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createRandom } from "../../../shared/models/random.ts";

export interface Labelled {
  readonly text: string;
  readonly label: string;
}

const nouns = "parcel office garden bridge letter window kitchen harbour engine carpet blanket candle mirror basket hammer ladder bottle button ribbon pocket tunnel castle valley meadow desert island planet comet rocket pencil crayon marble copper silver timber cotton velvet saddle bicycle tractor wagon trolley ferry canoe lantern furnace chimney cellar attic balcony corridor staircase fountain statue museum theatre library college stadium airport station harvest orchard vineyard bakery butcher grocer chemist florist jeweller plumber painter builder farmer sailor pilot teacher doctor nurse lawyer editor printer weaver potter".split(" ");

/** Questions that pass each other's fact gates, so that one partition holds all of them; @returns each with one that asks the same in a slightly other form. */
export function madeUp(count: number, seed: number): { text: string; other: string }[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, (_value, at) => {
    const words = Array.from({ length: 12 }, () => nouns[Math.floor(random.next() * nouns.length)] ?? "");
    const text = `compare the ${words.slice(0, 6).join(" the ")} ${words.slice(6).join(" ")}`;
    return { text, other: at % 2 === 0 ? `Hello, ${text} please` : text.replace(words[9] ?? "", `${words[9] ?? ""}s`) };
  });
}

/** null where the folder is not there. */
export function labelled(folder: string, name: "banking77" | "clinc150"): Labelled[] | null {
  const path = join(folder, name, name === "banking77" ? "train.csv" : "data_full.json");
  if (folder === "" || !existsSync(path)) return null;
  const file = readFileSync(path, "utf8");
  const rows = name === "banking77" ? csv(file) : clinc(JSON.parse(file) as Record<string, [string, string][]>);
  return createRandom(11).shuffle(rows);
}

/** `text,category` with quotes around texts that hold commas, quotes or line breaks. */
function csv(file: string): Labelled[] {
  return [...file.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*)),([^",\n]+)\r?\n/g)].slice(1).map(([, quoted, plain, label]) => ({ text: (quoted ?? plain ?? "").replaceAll('""', '"').trim(), label: (label ?? "").trim() }));
}

/** A question out of scope has no intent but its own. */
function clinc(data: Record<string, [string, string][]>): Labelled[] {
  return ["train", "val", "test", "oos_train", "oos_val", "oos_test"].flatMap((part) => (data[part] ?? []).map(([text, label]) => ({ text, label: part.startsWith("oos") ? `oos ${text}` : label })));
}
