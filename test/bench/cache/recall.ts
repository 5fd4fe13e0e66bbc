/** The in-process index alone: is the true nearest among what it finds, how long does a look-up hold the thread, how much memory does an entry take. */
import { builtIn, cosine } from "../../../services/gateway/cache/embedding.ts";
import { read } from "../../../services/gateway/cache/text.ts";
import { VectorIndex } from "../../../services/gateway/cache/vector_index.ts";
import type { BenchContext } from "../bench.ts";
import { madeUp } from "./questions.ts";

const embed = (text: string) => builtIn.embed(read(text)) as Float32Array;
const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;

export function reportRecall({ report }: BenchContext, entries: number, queries: number): void {
  const questions = madeUp(entries, 5);
  const vectors = questions.map(({ text }) => embed(text));
  const before = process.memoryUsage();
  const index = new VectorIndex(builtIn.dimension);
  vectors.forEach((vector, at) => index.put({ id: `${"0".repeat(58)}${String(at).padStart(6, "0")}`, partition: "all", vector, expiresAt: Date.now() + 1e9 }));
  const after = process.memoryUsage();
  for (const least of [0.95, 0.8]) {
    const times: number[] = [];
    let found = 0;
    let there = 0;
    for (let at = 0; at < queries; at++) {
      const { text, other } = questions[Math.floor((at * entries) / queries)] ?? { text: "", other: "" };
      const vector = embed(least > 0.9 ? other : text.split(" ").filter((_word, place) => place !== 3 && place !== 9).join(" "));
      const best = vectors.reduce((most, each) => Math.max(most, cosine(each, vector)), -1);
      const started = performance.now();
      const candidates = index.nearest({ partition: "all", vector }, least, 5);
      times.push(performance.now() - started);
      if (best < least) continue;
      there++;
      if (candidates.some(({ id }) => Math.abs(cosine(vectors[Number(id)] ?? vector, vector) - best) < 1e-6)) found++;
    }
    report({ case: `recall at ${least}`, sizes: { entries, queries: there, dimension: builtIn.dimension }, ours: found / there, unit: "share of true nearest found", bar: "≥ 0.99", detail: { lookupMs: median(times), bytesPerEntry: Math.round((after.arrayBuffers - before.arrayBuffers + after.heapUsed - before.heapUsed) / entries) } });
  }
}
