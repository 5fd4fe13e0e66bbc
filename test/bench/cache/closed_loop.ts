/** A program: each connection sends its next request when the last one was answered. Prints one JSON line. Arguments: one JSON object, `ClosedLoopOptions`. */
import { requestOf, Wire } from "../gateway/wire.ts";

export interface ClosedLoopOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Taken in turn. */
  readonly bodies: readonly string[];
  readonly connections: number;
  readonly seconds: number;
  /** Not counted. */
  readonly warmUp: number;
}

export interface ClosedLoopResult {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** By the header x-everlora-cache. */
  readonly kinds: Readonly<Record<string, number>>;
}

async function main({ url, headers, bodies, connections, seconds, warmUp }: ClosedLoopOptions): Promise<ClosedLoopResult> {
  const wire = new Wire(url);
  const requests = bodies.map((body) => requestOf(url, "/v1/chat/completions", headers, body));
  const latencies: number[] = [];
  const kinds: Record<string, number> = {};
  const start = performance.now() + warmUp * 1_000;
  const end = start + seconds * 1_000;
  let next = 0;
  const worker = async () => {
    for (;;) {
      const from = performance.now();
      if (from >= end) return;
      const answer = await wire.send(requests[next++ % requests.length] ?? "");
      if (answer.status !== 200) throw new Error(`status ${answer.status}: ${answer.body.slice(0, 300)}`);
      if (from < start) continue;
      latencies.push(performance.now() - from);
      const kind = /x-everlora-cache: *(\S+)/i.exec(answer.headers)?.[1] ?? "none";
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
  wire.close();
  latencies.sort((a, b) => a - b);
  return { perSecond: latencies.length / seconds, p50: latencies[latencies.length >> 1] ?? NaN, p99: latencies[Math.floor(latencies.length * 0.99)] ?? NaN, kinds };
}

process.stdout.write(`${JSON.stringify(await main(JSON.parse(process.argv[2] ?? "{}") as ClosedLoopOptions))}\n`);
