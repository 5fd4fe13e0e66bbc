/** The model card and its loss curve: what was measured in this run, in words and as a picture. */
import type { TinySize } from "./model_folder.ts";

export interface CurvePoint {
  readonly tokens: number;
  readonly train: number;
  readonly heldOut: number | null;
}

export interface CardFacts {
  readonly name: string;
  readonly size: TinySize;
  readonly parameters: number;
  readonly sources: readonly { readonly name: string; readonly documents: number; readonly tokens: number; readonly licence: string }[];
  readonly tokensSeen: number;
  readonly uniqueTokens: number;
  readonly steps: number;
  readonly batchTokens: number;
  readonly peakLearningRate: number;
  readonly seed: number;
  readonly hours: number;
  readonly machine: string;
  readonly curve: readonly CurvePoint[];
}

export function modelCard(facts: CardFacts): string {
  const { size } = facts;
  const held = facts.curve.filter((point) => point.heldOut !== null);
  const last = held.at(-1);
  return `---
license: apache-2.0
language: [en, pt]
library_name: everlora
pipeline_tag: text-generation
---
# ${facts.name}

A Llama-architecture model of ${(facts.parameters / 1e6).toFixed(2)} million parameters, pre-trained from nothing by everlora's own engine on a CPU.

**What it is for.** Trying everlora's whole loop (serve, collect, train an adapter, swap it in) with nothing to download. **What it is not.** It does not know
things, reason, or answer questions reliably; its sentences are often fluent nonsense, in Portuguese more so than in English. Do not put it before users:
name a real base model in \`BASE_MODEL\`.

| | |
|---|---|
| layers, width, MLP width | ${size.layers}, ${size.hiddenSize}, ${size.intermediateSize} |
| query heads, key/value heads | ${size.heads}, ${size.keyValueHeads} |
| vocabulary | ${size.vocabularySize} (byte-level BPE, trained on the same text) |
| context | ${size.contextLength} positions |
| chat template | ChatML |
| stored as | float16 safetensors |

## Data

| source | documents | tokens | licence |
|---|---|---|---|
${facts.sources.map(({ name, documents, tokens, licence }) => `| ${name} | ${documents} | ${tokens} | ${licence} |`).join("\n")}

One document in fifty was held out, by a hash of its text. The sample conversations in \`shared/datasets\` were not trained on.

## Training

${facts.tokensSeen.toLocaleString("en")} tokens seen (${(facts.tokensSeen / facts.uniqueTokens).toFixed(1)} passes over ${facts.uniqueTokens.toLocaleString("en")}), ${facts.steps} steps of up to ${facts.batchTokens} tokens, AdamW (0.9, 0.95, weight decay 0.1, clipping 1),
peak learning rate ${facts.peakLearningRate}, 2 % warm-up, cosine decay to a tenth, seed ${facts.seed}; ${facts.hours.toFixed(2)} hours on ${facts.machine}.

Loss in nats a token (the last column on held-out documents)${last === undefined ? "" : `; the last held-out loss is ${last.heldOut?.toFixed(3)}`}:

![loss curve](loss.svg)

| tokens | training | held-out |
|---|---|---|
${held.map(({ tokens, train, heldOut }) => `| ${tokens} | ${train.toFixed(3)} | ${heldOut?.toFixed(3)} |`).join("\n")}

Made by \`./everlora pretrain\`; see \`./everlora pretrain --help\`.
`;
}

/** Training loss as a line, held-out loss as dots. */
export function lossCurve(curve: readonly CurvePoint[]): string {
  const [width, height, left, bottom] = [640, 320, 50, 40];
  const most = Math.max(...curve.map(({ tokens }) => tokens), 1);
  const losses = curve.flatMap(({ train, heldOut }) => [train, ...(heldOut === null ? [] : [heldOut])]);
  const [low, high] = [Math.floor(Math.min(...losses, 9)), Math.ceil(Math.max(...losses, 1))];
  const x = (tokens: number) => (left + (tokens / most) * (width - left - 15)).toFixed(1);
  const y = (loss: number) => (15 + ((high - loss) / (high - low)) * (height - bottom - 15)).toFixed(1);
  const ticks = Array.from({ length: high - low + 1 }, (_, at) => low + at);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="white"/>
${ticks.map((loss) => `<line x1="${left}" x2="${width - 15}" y1="${y(loss)}" y2="${y(loss)}" stroke="#ddd"/><text x="${left - 8}" y="${y(loss)}" text-anchor="end" dominant-baseline="middle">${loss}</text>`).join("\n")}
<polyline fill="none" stroke="#3b6fb6" stroke-width="1.5" points="${curve.map(({ tokens, train }) => `${x(tokens)},${y(train)}`).join(" ")}"/>
${curve.map(({ tokens, heldOut }) => (heldOut === null ? "" : `<circle cx="${x(tokens)}" cy="${y(heldOut)}" r="3" fill="#c2452d"/>`)).join("")}
<text x="${width - 15}" y="${height - 12}" text-anchor="end">tokens seen (to ${(most / 1e6).toFixed(1)} million)</text>
<text x="${left}" y="${height - 12}">nats a token: training (line), held-out (dots)</text>
</svg>
`;
}
