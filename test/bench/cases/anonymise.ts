/** The anonymiser on the labelled set (only the half that nothing was tuned on counts), on names in Brazilian court texts, its speed, and Presidio beside it. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { createAnonymiser } from "../../../shared/anonymise/anonymiser.ts";
import { normaliseText } from "../../../shared/anonymise/normalise.ts";
import { projectRoot } from "../../../shared/config/settings.ts";
import { loadSamples } from "../../../shared/datasets/samples.ts";
import { textOf } from "../../../shared/events/conversation.ts";
import { blindSet } from "../anonymise/blind_set.ts";
import { labelledSet, type Label, type Labelled } from "../anonymise/labelled_set.ts";
import { figures, score, sumOf } from "../anonymise/score.ts";
import type { Bench, BenchContext } from "../bench.ts";

const anonymiser = createAnonymiser();
const find = (text: string) => anonymiser.find(text);
/** AnonyMED-BR, BERTimbau-leNER: what a neural model reaches on Brazilian medical records. */
const neuralBar = 0.927;

export const anonymise: Bench = {
  name: "anonymise",
  about: "the anonymiser on the labelled set, on court texts, its speed; Presidio beside it where PRESIDIO_PYTHON names its Python",
  async run(context) {
    for (const half of ["held_out", "tuning"] as const) quality(context, half, labelledSet(half));
    for (const language of ["pt", "en"] as const) quality(context, `blind_${language}`, blindSet(language));
    quality(context, "blind", [...blindSet("pt"), ...blindSet("en")]);
    courtNames(context);
    await speed(context);
    presidio(context);
  },
};

function quality({ report, say }: BenchContext, half: string, set: readonly Labelled[]): void {
  const result = score(set, find);
  const structured = figures(sumOf(result, (kind) => kind !== "NOME"));
  const names = figures(sumOf(result, (kind) => kind === "NOME"));
  const sizes = { half, sentences: set.length, entities: result.labels, kinds: result.byKind.size };
  report({ case: `structured kinds, ${half}`, sizes, ours: structured.f1, unit: "F1", bar: "F1 ≥ 0.98, recall ≥ 0.99", detail: { ...structured, hidden: result.hidden / result.labels, byKind: Object.fromEntries([...result.byKind].map(([kind, tally]) => [kind, { ...tally, ...figures(tally) }])) } });
  report({ case: `names, ${half}`, sizes, ours: names.f1, unit: "F1", bar: `${neuralBar} is what a neural model reaches on medical records`, detail: names });
  say(`${half}: structured recall ${structured.recall.toFixed(4)} precision ${structured.precision.toFixed(4)} F1 ${structured.f1.toFixed(4)}; names F1 ${names.f1.toFixed(4)}`);
}

/** LeNER-Br: names of people in Brazilian court decisions, labelled by its authors. */
function courtNames({ report, say, option }: BenchContext): void {
  const path = option("lener", join(projectRoot, "..", "shared", "data", "lener-br", "dev.conll"));
  if (!existsSync(path)) return say(`LeNER-Br is not at ${path} (--lener FILE): left out`);
  const set = readConll(readFileSync(path, "utf8"));
  const result = score(set, (text) => find(text).filter(({ kind }) => kind === "NOME"));
  const names = figures(sumOf(result, (kind) => kind === "NOME"));
  report({ case: "names in court texts (LeNER-Br dev)", sizes: { sentences: set.length, entities: result.labels }, ours: names.f1, unit: "F1", bar: `${neuralBar} is a neural model's on medical records`, note: "a found stretch counts if it covers the label", detail: { ...names, hidden: result.hidden / Math.max(1, result.labels) } });
}

function readConll(text: string): Labelled[] {
  return text.split(/\r?\n\r?\n/).map((sentence) => {
    let whole = "";
    const labels: Label[] = [];
    for (const line of sentence.split(/\r?\n/)) {
      const [word = "", tag = ""] = line.split(/\s+/);
      if (word === "") continue;
      const glued = /^[.,;:)\]!?%]$/.test(word) || /[([]$/.test(whole) || whole === "";
      if (!glued) whole += " ";
      const start = whole.length;
      whole += word;
      const last = labels.at(-1);
      if (tag === "B-PESSOA" || (tag === "I-PESSOA" && last === undefined)) labels.push({ start, end: whole.length, kind: "NOME" });
      else if (tag === "I-PESSOA" && last !== undefined) labels[labels.length - 1] = { ...last, end: whole.length };
    }
    return { text: whole, labels };
  });
}

async function speed({ report }: BenchContext): Promise<void> {
  const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
  const conversations = samples.map(({ messages }) => messages.map((message) => ({ ...message, content: normaliseText(textOf(message)) })));
  const ordinary = samples.flatMap(({ kind }, at) => (kind === "plain" ? [conversations[at] ?? []] : []));
  for (const [name, set] of [["conversations without personal data", ordinary], ["the samples, a fifth of them full of it", conversations]] as const) {
    const bytes = set.reduce((sum, messages) => sum + Buffer.byteLength(messages.map(textOf).join("")), 0);
    const once = () => {
      const started = process.cpuUsage();
      for (const messages of set) anonymiser.conversation({ messages });
      const { user, system } = process.cpuUsage(started);
      return (user + system) / 1e6;
    };
    const seconds = Math.min(...Array.from({ length: 8 }, once));
    report({ case: `speed: ${name}`, sizes: { conversations: set.length, bytes }, ours: bytes / 1e6 / seconds, unit: "MB/s of one core", bar: "≥ 5", detail: { msAKilobyte: (seconds * 1e6) / bytes } });
  }
}

const answerSchema = z.object({ version: z.string(), model: z.string(), seconds: z.number(), found: z.array(z.array(z.object({ start: z.int(), end: z.int(), kind: z.string() }))) });

/** Presidio has no Brazilian kinds: what counts for both is how many labels were hidden, under whatever name. */
function presidio({ report, say, option }: BenchContext): void {
  const python = option("presidio", process.env["PRESIDIO_PYTHON"] ?? "");
  if (python === "") return say("Presidio: not asked for (PRESIDIO_PYTHON=<a Python with presidio-analyzer>)");
  const set = labelledSet("held_out");
  const run = spawnSync(python, [join(import.meta.dirname, "..", "peers", "presidio_peer.py")], { input: JSON.stringify(set.map(({ text }) => text)), encoding: "utf8", maxBuffer: 1 << 28 });
  if (run.status !== 0) return say(`Presidio: ${run.stderr.slice(-400)}`);
  const answer = answerSchema.parse(JSON.parse(run.stdout));
  const byText = new Map(set.map(({ text }, at) => [text, answer.found[at] ?? []]));
  const theirs = score(set, (text) => byText.get(text) ?? []);
  const started = performance.now();
  const ours = score(set, find);
  const seconds = (performance.now() - started) / 1_000;
  const bytes = set.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
  report({ case: "labels hidden, whatever they were called", sizes: { entities: ours.labels }, ours: ours.hidden / ours.labels, unit: "share", peer: { name: `Presidio, ${answer.model}`, version: answer.version, figure: theirs.hidden / theirs.labels }, ratio: ours.hidden / theirs.hidden, detail: { innocentSentencesTouched: { ours: touched(set, find), presidio: touched(set, (text) => byText.get(text) ?? []) }, MBs: { ours: bytes / 1e6 / seconds, presidio: bytes / 1e6 / answer.seconds } } });
}

/** Share of the sentences without anything personal in which something was found. */
function touched(set: readonly Labelled[], look: (text: string) => readonly Label[]): number {
  const innocent = set.filter(({ labels }) => labels.length === 0);
  return innocent.filter(({ text }) => look(text).length > 0).length / innocent.length;
}
