/** What `everlora pretrain` does: folders of text → tokenizer → all parameters trained by our own engine → a model folder with its card. */
import { createHash } from "node:crypto";
import { access, readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { basename, dirname, join } from "node:path";
import type { ComputeDevice } from "../../shared/config/devices.ts";
import { packSequences, toBatch, type Example } from "../../shared/engine/pack.ts";
import { createLossFunction } from "../../shared/engine/loss_function.ts";
import { createTrainStep, type Parameter } from "../../shared/engine/step.ts";
import { parseConfig } from "../../shared/models/families.ts";
import { expectedTensors } from "../../shared/models/layout.ts";
import { createRandom } from "../../shared/models/random.ts";
import { chooseDevice } from "../../shared/tensor/device.ts";
import { openBackend, type Backend } from "../../shared/tensor/open_backend.ts";
import { trainBpe } from "../../shared/tokenizer/bpe_trainer.ts";
import { loadTokenizer, type Tokenizer } from "../../shared/tokenizer/tokenizer.ts";
import { lossCurve, modelCard, type CardFacts, type CurvePoint } from "./card.ts";
import { configJson, specials, writeModel, writeTokenizer, type TinySize } from "./model_folder.ts";
import { readFolders, type Document } from "./texts.ts";

export interface PretrainOptions {
  data: string[];
  out: string;
  tokens: number;
  vocabulary: number;
  width: number;
  layers: number;
  length: number;
  rows: number;
  learningRate: number;
  seed: number;
  threads: number;
  device: ComputeDevice;
}

export async function pretrain(options: PretrainOptions, say: (line: string) => void): Promise<void> {
  const device = chooseDevice(options.device, options.threads);
  say(`running on ${device.name}: ${device.reason}`);
  const found = await readFolders(options.data, (path, reason) => say(`skipped ${path}: ${reason}`));
  const size: TinySize = { vocabularySize: options.vocabulary, hiddenSize: options.width, intermediateSize: options.width * 2.5, layers: options.layers, heads: options.width / 64, keyValueHeads: options.width / 128, contextLength: options.length };
  say("training the tokenizer");
  await writeTokenizer(options.out, trainBpe([...found.values()].flat().map(plainText), options.vocabulary, specials), options.length);
  const tokenizer = await loadTokenizer(options.out);
  const sources = await Promise.all([...found].map(async ([path, documents]) => ({ path, documents, licence: await licenceOf(dirname(path)) })));
  const all = sources.map(({ path, documents, licence }) => {
    const examples = documents.flatMap((document) => toExamples(document, tokenizer, options.length));
    return { name: `${basename(dirname(path))}/${basename(path)}`, documents: documents.length, tokens: tokensOf(examples.map(({ example }) => example)), licence, examples };
  });
  const examples = all.flatMap((source) => source.examples);
  const train = examples.filter(({ heldOut }) => !heldOut).map(({ example }) => example);
  const heldOut = examples.filter((entry) => entry.heldOut).map(({ example }) => example);
  const facts = { name: basename(options.out), size, sources: all, uniqueTokens: tokensOf(train), batchTokens: options.rows * options.length, peakLearningRate: options.learningRate, seed: options.seed, machine: device.provider === "cpu" ? `${options.threads} threads of ${cpus()[0]?.model.trim() ?? "a CPU"}` : device.name };
  say(`${examples.length} documents, ${facts.uniqueTokens} tokens to train on, ${tokensOf(heldOut)} held out`);
  await trainAll(openBackend(device), options, size, train, heldOut, facts, say);
}

async function trainAll(backend: Backend, options: PretrainOptions, size: TinySize, train: readonly Example[], heldOut: readonly Example[], facts: Omit<CardFacts, "parameters" | "tokensSeen" | "steps" | "hours" | "curve">, say: (line: string) => void): Promise<void> {
  const config = parseConfig(configJson(size), options.out);
  const random = createRandom(options.seed);
  const parameters: Parameter[] = [...expectedTensors(config)].map(([name, shape]) => ({ name, shape, values: initial(name, shape, config.layers, () => random.normal()) }));
  const names = parameters.map(({ name }) => name);
  const assemble = (tensors: readonly unknown[]) => ({ weights: Object.fromEntries(names.map((name, at) => [name, tensors[at]])) as never, lora: null });
  const shape = { rows: options.rows, length: options.length };
  const step = await createTrainStep(backend, parameters, assemble, config, shape, { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 });
  const loss = await createLossFunction(backend, parameters, assemble, config, shape);
  const heldOutBatches = batches(packSequences(heldOut, options.length), shape).slice(0, 12);
  const total = Math.ceil(options.tokens / (options.rows * options.length));
  const curve: CurvePoint[] = [];
  const started = Date.now();
  let [seen, steps, queue, recent] = [0, 0, [] as ReturnType<typeof batches>, NaN];
  const save = async () => {
    const count = parameters.reduce((sum, { values }) => sum + values.length, 0);
    const card = { ...facts, parameters: count, tokensSeen: seen, steps, hours: (Date.now() - started) / 3_600_000, curve };
    await writeModel(options.out, size, new Map(parameters.map((p) => [p.name, { shape: p.shape, values: p.values }])), modelCard(card), lossCurve(curve));
  };
  say(`${names.length} tensors, ${step.compiled.nodeCount} graph nodes, compiled in ${(step.compiled.milliseconds.trace + step.compiled.milliseconds.open).toFixed(0)} ms; ${total} steps`);
  while (steps < total) {
    if (queue.length === 0) queue = batches(random.shuffle(packSequences(random.shuffle(train), options.length)), shape);
    const batch = queue.pop();
    if (batch === undefined) break;
    const result = await step.run(batch, schedule(steps, total, options.learningRate));
    if (!Number.isFinite(result.loss)) throw new Error(`the loss became ${result.loss} at step ${steps}; try a lower --learning-rate`);
    steps++;
    seen += batch.usedTokens;
    recent = Number.isNaN(recent) ? result.loss : recent * 0.95 + result.loss * 0.05;
    const evaluate = steps % 250 === 0 || steps === total;
    if (steps % 25 !== 0 && !evaluate) continue;
    const heldOutLoss = evaluate ? await meanLoss(heldOutBatches, (batch) => loss.run(batch)) : null;
    curve.push({ tokens: seen, train: recent, heldOut: heldOutLoss });
    say(`step ${steps}/${total} · loss ${recent.toFixed(3)}${heldOutLoss === null ? "" : ` · held-out ${heldOutLoss.toFixed(3)}`} · norm ${result.gradientNorm.toFixed(2)} · ${Math.round(seen / ((Date.now() - started) / 1000))} tokens/s`);
    if (evaluate) await save();
  }
}

/** GPT-2's: normal of 0.02, the projections that write to the residual stream smaller by the square root of how many do. */
function initial(name: string, shape: readonly number[], layers: number, normal: () => number): Float32Array {
  const values = new Float32Array(shape.reduce((product, side) => product * side, 1));
  if (shape.length === 1) return values.fill(1);
  const spread = /o_proj|down_proj/.test(name) ? 0.02 / Math.sqrt(2 * layers) : 0.02;
  return values.map(() => spread * normal());
}

/** Linear warm-up over 2 % of the steps, then a cosine down to a tenth of the peak. */
function schedule(step: number, total: number, peak: number): number {
  const warmUp = Math.max(1, Math.round(total * 0.02));
  if (step < warmUp) return (peak * (step + 1)) / warmUp;
  const share = (step - warmUp) / Math.max(1, total - warmUp);
  return peak * (0.1 + 0.45 * (1 + Math.cos(Math.PI * share)));
}

function batches(sequences: Example[][], { rows, length }: { rows: number; length: number }) {
  return Array.from({ length: Math.floor(sequences.length / rows) }, (_, at) => toBatch(sequences.slice(at * rows, (at + 1) * rows), rows, length));
}

async function meanLoss(list: ReturnType<typeof batches>, run: (batch: ReturnType<typeof toBatch>) => Promise<Float32Array>): Promise<number> {
  let [sum, count] = [0, 0];
  for (const batch of list) {
    sum += (await run(batch)).reduce((total, value) => total + value, 0);
    count += batch.trainedTokens;
  }
  return sum / count;
}

/** Pieces of at most `length` + 1 tokens. All tokens carry loss. One document in fifty is held out, by a hash of its text. */
function toExamples(document: Document, tokenizer: Tokenizer, length: number): { example: Example; heldOut: boolean }[] {
  const ids = "messages" in document ? [...tokenizer.conversation(document.messages).ids] : [...tokenizer.encode(document.text), 0];
  const heldOut = (createHash("sha256").update(plainText(document)).digest()[0] ?? 0) % 50 === 0;
  const pieces: { example: Example; heldOut: boolean }[] = [];
  for (let from = 0; from + 1 < ids.length; from += length) {
    const piece = ids.slice(from, from + length + 1);
    if (piece.length > 8) pieces.push({ example: { ids: piece, trained: piece.map(() => true) }, heldOut });
  }
  return pieces;
}

const plainText = (document: Document) => ("text" in document ? document.text : document.messages.map(({ content }) => content).join("\n"));
const tokensOf = (examples: readonly Example[]) => examples.reduce((sum, { ids }) => sum + ids.length - 1, 0);

/** The first line of the folder's LICENSE, which is what a card can name. */
async function licenceOf(folder: string): Promise<string> {
  const path = join(folder, "LICENSE");
  const present = await access(path).then(() => true, () => false);
  return present ? ((await readFile(path, "utf8")).split("\n").find((line) => line.trim() !== "")?.trim() ?? "see LICENSE") : "none stated";
}
