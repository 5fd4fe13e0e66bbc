/**
 * Whether a device computes what the processor computes, looked at before it is taken: the kernels that training and serving live on, on small inputs, both ways.
 * A provider may start, multiply rightly and still leave an output unwritten; training would end with an adapter of noise. Limits are wide, because half of a
 * float32's digits may be missing on purpose (TensorFloat-32): this finds what is wrong, not what is rough.
 */
import { emit } from "./emit.ts";
import { leaf, type Node } from "./graph.ts";
import { kernelsOf } from "./kernels/table.ts";
import type { Rules } from "./kernels/rule.ts";
import { openSyncSession, type Device, type Value } from "./runtime.ts";

/** Runs a model: feeds by name to the values of its outputs. */
export type Runner = (model: Uint8Array, feeds: Readonly<Record<string, Value>>, outputs: readonly string[]) => ArrayLike<number>[];

/** What a kernel is tried with; a, b [6, 8] and heads [1, 2, 6, 8] are between −2 and 2, angles [1, 1, 6, 8] have equal halves. */
interface Trial {
  readonly kernel: string;
  readonly inputs: Readonly<Record<string, keyof typeof shapes>>;
  readonly attributes?: Readonly<Record<string, unknown>>;
}

const shapes = { a: [6, 8], b: [6, 8], gain: [8], heads: [1, 2, 6, 8], angles: [1, 1, 6, 8] } as const;

/** A row for each kernel, once for each way of using it. */
const trials: readonly Trial[] = [
  { kernel: "BatchMatMul", inputs: { a: "a", b: "b" }, attributes: { transposeA: false, transposeB: true } },
  { kernel: "BatchMatMul", inputs: { a: "a", b: "b" }, attributes: { transposeA: true, transposeB: false } },
  { kernel: "BatchMatMul", inputs: { a: "heads", b: "heads" }, attributes: { transposeA: false, transposeB: true } },
  { kernel: "RmsNorm", inputs: { x: "a", scale: "gain" }, attributes: { epsilon: 1e-5 } },
  { kernel: "RotaryEmbedding", inputs: { x: "heads", cos: "angles", sin: "angles" } },
  { kernel: "Softmax", inputs: { logits: "heads" }, attributes: { dim: -1 } },
  { kernel: "Sigmoid", inputs: { x: "a" } },
  { kernel: "Tanh", inputs: { x: "a" } },
  { kernel: "Erf", inputs: { x: "a" } },
  { kernel: "Exp", inputs: { x: "a" } },
  { kernel: "Add", inputs: { a: "a", b: "gain" } },
  { kernel: "Multiply", inputs: { a: "a", b: "b" } },
  { kernel: "Mean", inputs: { x: "a" }, attributes: { axis: [1], keepDims: true } },
  { kernel: "Sum", inputs: { x: "heads" }, attributes: { axis: [0, 2], keepDims: false } },
  { kernel: "Max", inputs: { x: "a" }, attributes: { reductionIndices: [1], keepDims: false } },
  { kernel: "Transpose", inputs: { x: "heads" }, attributes: { perm: [0, 2, 1, 3] } },
  { kernel: "Slice", inputs: { x: "heads" }, attributes: { begin: [0, 0, 2, 0], size: [-1, -1, 3, -1] } },
  { kernel: "PadV2", inputs: { x: "heads" }, attributes: { paddings: [[0, 0], [0, 0], [0, 3], [0, 0]], constantValue: 0 } },
];

const limit = 0.02;

/**
 * @param rules those of the device: what is known not to hold there is not asked for
 * @returns what is wrong, for people; null when nothing is. @throws whatever a runner throws
 */
export function differences(rules: Rules, device: Runner, processor: Runner): string | null {
  const names = Object.keys(shapes) as (keyof typeof shapes)[];
  const leaves = Object.fromEntries(names.map((name) => [name, leaf({ kind: "input", name }, shapes[name], "float32")])) as Record<keyof typeof shapes, Node>;
  const made = trials.flatMap(({ kernel, inputs, attributes = {} }) => {
    const results = rules[kernel]?.(Object.fromEntries(Object.entries(inputs).map(([name, from]) => [name, leaves[from]])), attributes, false) ?? [];
    return ("op" in results ? [results] : results).map((result) => ({ kernel, result }));
  });
  const { model, outputNames } = emit(made.map(({ result }) => result), names.map((name) => leaves[name]));
  const feeds = Object.fromEntries(names.map((name, at) => [`input_${at}`, { values: valuesOf(name), shape: shapes[name], dtype: "float32" as const }]));
  const [theirs, ours] = [device(model, feeds, outputNames), processor(model, feeds, outputNames)];
  const wrong = made.flatMap(({ kernel }, at) => {
    const distance = distanceOf(theirs[at] ?? [], ours[at] ?? []);
    return distance <= limit ? [] : [`${kernel} by ${distance.toPrecision(2)}`];
  });
  return wrong.length === 0 ? null : `it computes something else than the processor: ${[...new Set(wrong)].join(", ")}`;
}

/** What a provider of ONNX Runtime computes wrongly on this machine; null when nothing. */
export function selfTest(device: Device): string | null {
  return differences(kernelsOf(device), runnerOf(device), runnerOf({ provider: "cpu", threads: 1 }));
}

function runnerOf(device: Device): Runner {
  return (model, feeds, outputs) => {
    const session = openSyncSession(model, device);
    try {
      return session.run(feeds, outputs) as ArrayLike<number>[];
    } finally {
      session.close();
    }
  };
}

/** The same for each start; a head's angles in two equal halves, as rotary embeddings have them. */
function valuesOf(name: keyof typeof shapes): Float32Array {
  const size = shapes[name].reduce((product: number, side) => product * side, 1);
  const place = (at: number) => (name === "angles" && at % 8 >= 4 ? at - 4 : at);
  return Float32Array.from({ length: size }, (_, at) => 2 * Math.sin(1.7 * place(at) + name.length));
}

/** The largest difference, against the largest number of the two that is right; infinite where sizes differ or something is no number. */
function distanceOf(theirs: ArrayLike<number>, ours: ArrayLike<number>): number {
  if (theirs.length !== ours.length) return Infinity;
  let [largest, scale] = [0, 1e-6];
  for (let at = 0; at < ours.length; at++) {
    const difference = Math.abs((theirs[at] ?? NaN) - (ours[at] ?? NaN));
    if (Number.isNaN(difference)) return Infinity;
    largest = Math.max(largest, difference);
    scale = Math.max(scale, Math.abs(ours[at] ?? 0));
  }
  return largest / scale;
}
