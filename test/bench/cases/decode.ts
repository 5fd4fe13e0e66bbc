/**
 * Tokens a second of the decoder, at SmolLM2-135M's shape with random weights: one stream, eight, six adapters in one batch, a prompt that is known
 * already. At 4 bit one stream beside llama.cpp, where Python has it (TEST_PYTHON names one with llama-cpp-python and gguf).
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import { Decoder, type Sequence } from "../../../shared/engine/decoder.ts";
import { openLanguageModel, type LanguageModel } from "../../../shared/engine/language_model.ts";
import type { Parameter } from "../../../shared/engine/step.ts";
import { createRandom } from "../../../shared/models/random.ts";
import { allTargets, modulesOf } from "../../../shared/peft/adapter.ts";
import { chooseDevice } from "../../../shared/tensor/device.ts";
import { runtimeVersion } from "../../../shared/tensor/runtime.ts";
import { smolLm2, writeRandomModel } from "../../support/random_model.ts";
import type { Bench, BenchContext, Peer } from "../bench.ts";

const peerScript = fileURLToPath(new URL("../peers/llama_cpp_decode.py", import.meta.url));
const peerSchema = z.object({ version: z.string(), tokensPerSecond: z.number(), eightTokensPerSecond: z.number(), promptTokensPerSecond: z.number() });
const promptTokens = 64;
const rank = 16;
const versions = { onnxruntime: runtimeVersion };

export const decode: Bench = {
  name: "decode",
  about: "tokens a second of one stream and of eight, adapters in one batch, kept prefixes; llama.cpp beside it",
  async run(context) {
    const folder = await mkdtemp(join(tmpdir(), "everlora-decode-"));
    try {
      const path = await writeRandomModel(join(folder, "smollm2-shape"), { contextLength: 2_048 });
      const tokens = Number(context.option("tokens", "64"));
      for (const quantization of z.array(z.enum(["none", "int8", "int4"])).parse(context.option("quantization", "none,int8,int4").split(","))) {
        const device = { ...chooseDevice("auto", 0), spin: true };
        const model = await openLanguageModel(path, join(folder, "compiled"), device, { quantization, use: "serving" });
        await measure(context, model, quantization, tokens, quantization === "int4" ? () => llamaCpp(context, path, tokens) : undefined);
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

async function measure({ report, say, option }: BenchContext, model: LanguageModel, quantization: string, tokens: number, llama?: () => Promise<LlamaRates | null>): Promise<void> {
  const decoder = new Decoder(model, { prefixBytes: 1 << 28 });
  const opened = performance.now();
  const adapters = Array.from({ length: 6 }, (_, seed) => randomAdapter(model, seed));
  await decoder.warm([]);
  await decoder.warm(adapters[0] ?? []);
  say(`${quantization}: graphs ready in ${((performance.now() - opened) / 1_000).toFixed(1)} s, ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB resident`);
  const { layers, hiddenSize, vocabSize } = { ...smolLm2 };
  const sizes = (streams: number, used: number) => ({ layers, hiddenSize, vocabSize, quantization, streams, adapters: used, promptTokens, tokens, threads: model.backend.device.threads });
  const rate = (streams: number, list: readonly (readonly Parameter[])[]) => tokensPerSecond(decoder, streams, list, tokens);
  const rounds = Number(option("rounds", "3"));
  // In turns, the best of each: what else runs on the machine only ever slows down.
  const best = { one: 0, eight: 0, oneAdapter: 0, sixAdapters: 0 };
  const peers: LlamaRates[] = [];
  for (let round = 0; round < rounds; round++) {
    best.one = Math.max(best.one, await rate(1, [[]]));
    best.eight = Math.max(best.eight, await rate(8, [[]]));
    best.oneAdapter = Math.max(best.oneAdapter, await rate(6, adapters.slice(0, 1)));
    best.sixAdapters = Math.max(best.sixAdapters, await rate(6, adapters));
    const found = await llama?.();
    if (found !== undefined && found !== null) peers.push(found);
  }
  const [first] = peers;
  const theirs = first === undefined ? null : { version: first.version, one: Math.max(...peers.map(({ one }) => one)), eight: Math.max(...peers.map(({ eight }) => eight)) };
  const peerOf = (figure: number | undefined): { peer?: Peer } => (theirs === null || figure === undefined ? {} : { peer: { name: "llama.cpp, Q4_0 (llama-cpp-python)", version: theirs.version, figure } });
  report({
    case: `one stream, ${quantization}`,
    sizes: sizes(1, 0),
    ours: best.one,
    unit: "tokens/s",
    versions,
    ...peerOf(theirs?.one),
    ...(llama === undefined ? {} : { bar: "≥ 0.8 × llama.cpp at the same bits" }),
    ...(theirs === null ? {} : { ratio: best.one / theirs.one }),
    ...(llama !== undefined && theirs === null ? { note: "llama.cpp is not there: TEST_PYTHON names a Python with llama-cpp-python and gguf" } : {}),
  });
  report({ case: `eight streams, ${quantization}`, sizes: sizes(8, 0), ours: best.eight, unit: "tokens/s", ratio: best.eight / best.one, bar: "≥ 4 × one stream", versions, ...peerOf(theirs?.eight), ...(theirs === null ? {} : { note: `llama.cpp's eight are ${(theirs.eight / theirs.one).toFixed(2)} × its one` }) });
  report({ case: `six adapters in one batch, ${quantization}`, sizes: sizes(6, 6), ours: best.sixAdapters, unit: "tokens/s", ratio: best.sixAdapters / best.oneAdapter, bar: "≥ 0.9 × six streams of one adapter", versions, note: `rank ${rank} on all projections; one adapter: ${best.oneAdapter.toFixed(1)} tokens/s` });
  await prefixes(report, decoder, sizes(1, 0));
  await together(report, decoder, sizes(4, 0), rounds);
}

/** Streams that begin together and are decoded together, each going on with its likeliest token; only decoding counts. */
async function tokensPerSecond(decoder: Decoder, streams: number, adapters: readonly (readonly Parameter[])[], tokens: number): Promise<number> {
  const sequences: Sequence[] = [];
  try {
    for (let stream = 0; stream < streams; stream++) sequences.push((await decoder.start(prompt(stream, promptTokens), adapters[stream % adapters.length] ?? [])).sequence);
    let next = await decoder.likeliestAll(sequences.map((sequence) => ({ sequence, token: 5 })));
    const started = performance.now();
    for (let step = 0; step < tokens; step++) next = await decoder.likeliestAll(sequences.map((sequence, at) => ({ sequence, token: next[at]?.token ?? 0 })));
    return (streams * tokens * 1_000) / (performance.now() - started);
  } finally {
    for (const sequence of sequences) decoder.close(sequence);
  }
}

/** Short prompts that wait for one adapter: in one run, and one after the other. */
async function together(report: BenchContext["report"], decoder: Decoder, sizes: Record<string, string | number>, rounds: number): Promise<void> {
  const timed = async (first: number, read: (sequences: readonly Sequence[]) => Promise<unknown>) => {
    const sequences = Array.from({ length: 4 }, (_, at) => decoder.open(prompt(first + at, 32), []));
    const started = performance.now();
    await read(sequences);
    const milliseconds = performance.now() - started;
    for (const sequence of sequences) decoder.close(sequence);
    return milliseconds;
  };
  const [one, other]: [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    one.push(await timed(200 + 8 * round, (sequences) => decoder.readAll(sequences)));
    other.push(
      await timed(204 + 8 * round, async (sequences) => {
        for (const sequence of sequences) await decoder.read(sequence);
      }),
    );
  }
  report({ case: `four prompts of 32 tokens in one run, ${sizes["quantization"]}`, sizes: { ...sizes, promptTokens: 32 }, ours: Math.min(...one), unit: "ms", ratio: Math.min(...other) / Math.min(...one), note: `one after the other: ${Math.min(...other).toFixed(0)} ms`, versions });
}

async function prefixes(report: BenchContext["report"], decoder: Decoder, sizes: Record<string, string | number>): Promise<void> {
  const timed = async (tokens: readonly number[]) => {
    const started = performance.now();
    const { sequence } = await decoder.start(tokens, []);
    const milliseconds = performance.now() - started;
    decoder.close(sequence);
    return { milliseconds, reused: sequence.reused };
  };
  const system = prompt(99, 512);
  const cold = await timed([...system, ...prompt(100, 32)]);
  const warm = await timed([...system, ...prompt(101, 32)]);
  report({ case: `prompt of 544 tokens, 512 of them known, ${sizes["quantization"]}`, sizes: { ...sizes, promptTokens: 544, reused: warm.reused }, ours: warm.milliseconds, unit: "ms to the first token", ratio: cold.milliseconds / warm.milliseconds, note: `nothing known: ${cold.milliseconds.toFixed(0)} ms`, versions });
}

/** Tokens a second of one stream and of eight. */
interface LlamaRates {
  readonly version: string;
  readonly one: number;
  readonly eight: number;
}

async function llamaCpp({ say }: BenchContext, model: string, tokens: number): Promise<LlamaRates | null> {
  const python = process.env["TEST_PYTHON"];
  if (python === undefined) return null;
  try {
    const { stdout } = await promisify(execFile)(python, [peerScript, model, String(promptTokens), String(tokens)], { maxBuffer: 1 << 24 });
    const { version, tokensPerSecond: one, eightTokensPerSecond: eight } = peerSchema.parse(JSON.parse(stdout.trim().split("\n").at(-1) ?? ""));
    return { version, one, eight };
  } catch (error) {
    say(`llama.cpp could not be measured: ${error instanceof Error ? error.message.split("\n").slice(-3).join(" ") : String(error)}`);
    return null;
  }
}

const prompt = (seed: number, length: number) => Array.from({ length }, (_, at) => 10 + ((seed * 7_919 + at * 104_729) % 40_000));

function randomAdapter(model: LanguageModel, seed: number): Parameter[] {
  const random = createRandom(seed);
  const values = (length: number) => Float32Array.from({ length }, () => 0.02 * (random.next() - 0.5));
  return modulesOf(model.folder.config, allTargets(model.folder.config)).flatMap(({ name, inputs, outputs }): Parameter[] => [
    { name: `${name}.A`, shape: [rank, inputs], values: values(rank * inputs) },
    { name: `${name}.B`, shape: [outputs, rank], values: values(outputs * rank) },
  ]);
}
