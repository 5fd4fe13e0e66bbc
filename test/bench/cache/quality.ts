/** How often the cache hits and how often it is right: adversarial pairs, paraphrases, and the curve over the threshold on public intents. */
import { builtIn, cosine } from "../../../services/gateway/cache/embedding.ts";
import { gateOf } from "../../../services/gateway/cache/gates.ts";
import { read } from "../../../services/gateway/cache/text.ts";
import { adversarialPairs, paraphrases, type Pair } from "../../gateway/adversarial/index.ts";
import type { BenchContext } from "../bench.ts";
import { labelled, type Labelled } from "./questions.ts";

interface Seen {
  readonly vector: Float32Array;
  readonly facts: string;
  readonly words: string;
  readonly bag: string;
}

const look = (text: string): Seen => {
  const reading = read(text);
  const gate = gateOf(reading) ?? { facts: text, words: text, bag: text };
  return { vector: builtIn.embed(reading) as Float32Array, ...gate };
};

type Rule = (a: Seen, b: Seen, similarity: number) => boolean;
const rules: Readonly<Record<"default" | "facts" | "vectors alone", Rule>> = {
  default: (a, b) => a.facts === b.facts && a.words === b.words,
  facts: (a, b) => a.facts === b.facts && (a.words === b.words || a.bag !== b.bag),
  "vectors alone": () => true,
};

export function reportPairs({ report }: BenchContext): void {
  const count = (pairs: readonly Pair[], rule: Rule) => pairs.map(({ one, other }) => [look(one), look(other)] as const).filter(([a, b]) => cosine(a.vector, b.vector) >= 0.95 && rule(a, b, 1)).length;
  const pairs = adversarialPairs();
  report({ case: "false hits", sizes: { pairs: pairs.length, similarity: 0.95 }, ours: count(pairs, rules.default), unit: "pairs taken for one another", bar: "0", peer: { name: "the same vectors without gates", version: "", figure: count(pairs, rules["vectors alone"]) }, note: "default settings", detail: { kinds: Object.fromEntries([...new Set(pairs.map(({ kind }) => kind))].map((kind) => [kind, pairs.filter((pair) => pair.kind === kind).length])) } });
  const same = paraphrases();
  report({ case: "paraphrases", sizes: { pairs: same.length, similarity: 0.95 }, ours: count(same, rules.default) / same.length, unit: "share that hits", note: "questions that mean the same, half of them in other words: those need a sentence embedding" });
}

const thresholds = [0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.995];

/** As if each question came after the others: the nearest one before it that passes the gates answers it, rightly if it has the same intent. */
export function reportIntents({ report, say }: BenchContext, folder: string, most: number): void {
  for (const name of ["banking77", "clinc150"] as const) {
    const rows = labelled(folder, name);
    if (rows === null) {
      say(`${name}: not there; set EVERLORA_DATA to the folder that holds it`);
      continue;
    }
    for (const rule of ["default", "facts", "vectors alone"] as const) reportCurve(report, name, rule, rows.slice(0, most));
  }
}

function reportCurve(report: BenchContext["report"], name: string, rule: keyof typeof rules, rows: readonly Labelled[]): void {
  const seen = rows.map(({ text }) => look(text));
  const found: { similarity: number; right: boolean }[] = [];
  for (let at = 1; at < seen.length; at++) {
    const now = seen[at];
    if (now === undefined) continue;
    let best = -1;
    let winner = -1;
    for (let before = 0; before < at; before++) {
      const other = seen[before];
      if (other === undefined || (rule !== "vectors alone" && other.facts !== now.facts)) continue;
      const similarity = cosine(now.vector, other.vector);
      if (similarity > best && rules[rule](now, other, similarity)) [best, winner] = [similarity, before];
    }
    if (winner >= 0) found.push({ similarity: best, right: rows[winner]?.label === rows[at]?.label });
  }
  found.sort((a, b) => b.similarity - a.similarity);
  let right = 0;
  let safe = 0;
  found.forEach((each, at) => {
    if (each.right) right++;
    // Hits of one similarity come together: a threshold can't part them.
    if (found[at + 1]?.similarity !== each.similarity && right >= 0.99 * (at + 1)) safe = at + 1;
  });
  const curve = thresholds.map((similarity) => {
    const hits = found.filter((each) => each.similarity >= similarity);
    return { similarity, hitRate: share(hits.length, seen.length - 1), precision: share(hits.filter((each) => each.right).length, hits.length) };
  });
  report({ case: `${name}, ${rule}`, sizes: { questions: rows.length }, ours: safe / (seen.length - 1), unit: "hit rate at 99 % precision", note: "right = the same intent by the data's own labels, which differ for some equal questions", detail: { curve, atTheThreshold: curve.find(({ similarity }) => similarity === 0.95) } });
}

const share = (part: number, whole: number) => (whole === 0 ? null : Math.round((10_000 * part) / whole) / 10_000);
