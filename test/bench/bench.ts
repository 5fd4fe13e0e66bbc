/** What a benchmark is, and the line that it prints. A bench measures us and, where one can be had, a peer in the same run: the ratio is what counts. */
import { arch, availableParallelism, cpus, totalmem } from "node:os";

export interface Peer {
  readonly name: string;
  readonly version: string;
  readonly figure: number;
}

export interface Measurement {
  /** What was measured, unique within the bench: "float32", "exact hit". */
  readonly case: string;
  /** Sizes and settings that the figure depends on. */
  readonly sizes: Readonly<Record<string, string | number | boolean | null>>;
  readonly ours: number;
  readonly unit: string;
  /** Versions of what ran below us. */
  readonly versions?: Readonly<Record<string, string>>;
  /** Null where the peer is not on this machine; `note` says so. */
  readonly peer?: Peer | null;
  /** Ours over the peer's, or what `note` says. */
  readonly ratio?: number;
  /** What the figure is wanted to be, in words: "≥ 0.85". */
  readonly bar?: string;
  readonly note?: string;
  /** Curves and further figures. */
  readonly detail?: unknown;
}

export interface BenchContext {
  /** Prints one JSON line on stdout. */
  report(this: void, measurement: Measurement): void;
  /** For people, on stderr. */
  say(this: void, text: string): void;
  /** `--name value` of the command line, or the default. */
  option(this: void, name: string, fallback: string): string;
}

export interface Bench {
  readonly name: string;
  /** One line for --help: what is measured against what. */
  readonly about: string;
  run(context: BenchContext): Promise<void>;
}

/** The machine, as every line names it. */
export function machine(): Record<string, string | number> {
  return { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), memoryGiB: Math.round(totalmem() / 2 ** 30), arch: arch(), node: process.versions.node };
}

/** @param print one JSON line; @param say words for people */
export function createContext(bench: Bench, options: ReadonlyMap<string, string>, print: (line: string) => void, say: (text: string) => void): BenchContext {
  return {
    report: ({ case: name, ours, ratio, ...rest }) => print(JSON.stringify({ bench: bench.name, case: name, ours: rounded(ours), ...(ratio === undefined ? {} : { ratio: rounded(ratio) }), ...rest, machine: machine(), at: new Date().toISOString() })),
    say,
    option: (name, fallback) => options.get(name) ?? fallback,
  };
}

/** Four significant digits: more would pretend a precision that no single run has. */
const rounded = (value: number) => Number(value.toPrecision(4));
