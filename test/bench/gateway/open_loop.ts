/**
 * A program: sends requests at fixed times, whether or not earlier ones were answered, and prints what it saw as one JSON line. Latency counts from the
 * time at which a request was due, so a server that stalls can't hide it by slowing the generator down. Arguments: one JSON object, `OpenLoopOptions`.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { requestOf, Wire } from "./wire.ts";

export interface OpenLoopOptions {
  readonly url: string;
  readonly path: string;
  readonly rate: number;
  readonly seconds: number;
  /** Seconds at the start that are not counted: connections are opened, code is compiled. */
  readonly warmUp: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
  /** "dialogue": only an exact hit could answer it. "question": the semantic tier looks, too. */
  readonly prompt: "dialogue" | "question";
  readonly seed: number;
}

export interface OpenLoopResult {
  readonly sent: number;
  readonly ok: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  /** How late the generator itself sent, p99. */
  readonly lag99: number;
  readonly connections: number;
  readonly achieved: number;
}

const words = "how do I return the blue parcel that came late and which form must my neighbour sign before our office opens again after the long holiday in the old town with all its small bridges".split(" ");

function textOf(at: number, seed: number): string {
  let state = (Math.imul(at + 1, 2_654_435_761) ^ Math.imul(seed, 40_503)) >>> 0;
  const said: string[] = [];
  for (let word = 0; word < 24; word++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    said.push(words[(state >>> 8) % words.length] ?? "");
  }
  return said.join(" ");
}

function bodyOf({ model, prompt, seed }: OpenLoopOptions, at: number): string {
  const asked = { role: "user", content: textOf(at, seed) };
  const before = [{ role: "user", content: "I have a question about a parcel." }, { role: "assistant", content: "Gladly. What would you like to know?" }];
  return JSON.stringify({ model, temperature: 0.2, max_tokens: 128, messages: [{ role: "system", content: "You answer customers of a parcel service, briefly and politely." }, ...(prompt === "dialogue" ? before : []), asked] });
}

async function main(options: OpenLoopOptions): Promise<OpenLoopResult> {
  const wire = new Wire(options.url);
  const total = Math.round(options.rate * (options.seconds + options.warmUp));
  const skipped = Math.round(options.rate * options.warmUp);
  const latencies: number[] = [];
  const lags: number[] = [];
  const errors: Record<string, number> = {};
  let ok = 0;
  const pending = new Set<Promise<void>>();
  const start = performance.now() + 50;
  let ended = 0;
  const one = async (at: number, due: number) => {
    try {
      const request = requestOf(options.url, options.path, options.headers, bodyOf(options, at));
      if (at >= skipped) lags.push(performance.now() - due);
      const answer = await wire.send(request);
      ended = performance.now();
      if (answer.status !== 200) throw new Error(`status ${answer.status}`);
      if (at < skipped) return;
      ok++;
      latencies.push(ended - due);
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      errors[words] = (errors[words] ?? 0) + 1;
    }
  };
  for (let at = 0; at < total; ) {
    const due = start + (1_000 * at) / options.rate;
    const wait = due - performance.now();
    if (wait > 0.2) {
      await sleep(Math.max(1, Math.floor(wait)));
      continue;
    }
    const request: Promise<void> = one(at++, due).finally(() => pending.delete(request));
    pending.add(request);
  }
  await Promise.all(pending);
  wire.close();
  const sorted = latencies.sort((a, b) => a - b);
  const at = (list: readonly number[], share: number) => list[Math.min(list.length - 1, Math.floor(list.length * share))] ?? NaN;
  return { sent: total - skipped, ok, errors, p50: at(sorted, 0.5), p90: at(sorted, 0.9), p99: at(sorted, 0.99), max: sorted.at(-1) ?? NaN, lag99: at(lags.sort((a, b) => a - b), 0.99), connections: wire.connections, achieved: ok / ((ended - start) / 1_000 - options.warmUp) };
}

process.stdout.write(`${JSON.stringify(await main(JSON.parse(process.argv[2] ?? "{}") as OpenLoopOptions))}\n`);
