/**
 * The same tfjs calls on tfjs's own CPU backend, the reference, and on ours: compiled as a function of inputs, and on constants (where single
 * numbers are symbolic, so that the graph's algebra is at work). Every graph that is traced on the way is verified.
 */
import assert from "node:assert/strict";
import * as tf from "../../../shared/models/tfjs.ts";
import { registerOnnxBackend, type OnnxBackend } from "../../../shared/tensor/backend.ts";
import { compile } from "../../../shared/tensor/compile.ts";
import { verifyGraph } from "../../../shared/tensor/verify.ts";

export type DType = "float32" | "int32" | "bool";
export interface Spec {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly values: Float32Array | Int32Array | Uint8Array;
}
export type Call = (...tensors: tf.Tensor[]) => tf.Tensor | tf.Tensor[];

export interface Trial {
  readonly call: Call;
  readonly inputs: readonly Spec[];
}

export interface Result {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly values: ArrayLike<number>;
}

/** One thread: sums are then added in one order, and two busy cores are not fought for. */
export const backend: OnnxBackend = registerOnnxBackend({ provider: "cpu", threads: 1 });
backend.inspect = verifyGraph;

const sizeOf = (shape: readonly number[]) => shape.reduce((product, side) => product * side, 1);
/** Repeats the list as often as the shape needs. */
const filled = (shape: readonly number[], list: readonly number[]) => Array.from({ length: sizeOf(shape) }, (_, at) => list[at % list.length] ?? 0);

export const float = (shape: readonly number[], list: readonly number[]): Spec => ({ shape, dtype: "float32", values: Float32Array.from(filled(shape, list)) });
export const int = (shape: readonly number[], list: readonly number[]): Spec => ({ shape, dtype: "int32", values: Int32Array.from(filled(shape, list)) });
export const bool = (shape: readonly number[], list: readonly number[] = [1, 0, 0, 1, 1]): Spec => ({ shape, dtype: "bool", values: Uint8Array.from(filled(shape, list)) });

const listOf = (made: tf.Tensor | tf.Tensor[]): tf.Tensor[] => (Array.isArray(made) ? made : [made]);
const tensorOf = ({ values, shape, dtype }: Spec): tf.Tensor => tf.tensor(values, [...shape], dtype);

/** On tfjs's CPU backend. */
export async function onReference(trials: readonly Trial[]): Promise<Result[][]> {
  await tf.setBackend("cpu");
  return trials.map(({ call, inputs }) => tf.tidy(() => listOf(call(...inputs.map(tensorOf))).map((tensor) => ({ shape: tensor.shape, dtype: tensor.dtype, values: tensor.dataSync() }))));
}

/** Many calls in one compiled function, every tensor an input. */
export function onInputs(trials: readonly Trial[]): Promise<Result[][]> {
  return runTogether(
    trials.flatMap(({ inputs }) => inputs),
    (tensors) => {
      let used = 0;
      return trials.map(({ call, inputs }) => listOf(call(...tensors.slice(used, (used += inputs.length)))));
    },
  );
}

/** Many calls in one compiled function, every tensor a constant of it. */
export function onConstants(trials: readonly Trial[]): Promise<Result[][]> {
  return runTogether([], () => trials.map(({ call, inputs }) => listOf(call(...inputs.map(tensorOf)))));
}

async function runTogether(inputs: readonly Spec[], build: (tensors: tf.Tensor[]) => tf.Tensor[][]): Promise<Result[][]> {
  const counts: number[] = [];
  const compiled = await compile(backend, inputs, (...tensors) => {
    const made = build(tensors);
    counts.push(...made.map((list) => list.length));
    return made.flat();
  });
  try {
    const outputs = await compiled.run(inputs.map(({ values }) => values));
    const results = outputs.map((values, at): Result => ({ shape: compiled.outputs[at]?.shape ?? [], dtype: compiled.outputs[at]?.dtype ?? "", values: values as Float32Array }));
    return counts.map((count) => results.splice(0, count));
  } finally {
    await compiled.close();
  }
}

export interface Closeness {
  /** Relative, and absolute near zero; 0 = the same bits (every NaN is alike). */
  readonly tolerance?: number;
  /** Set where 0 and −0 may be mistaken for each other; says why. */
  readonly zeros?: string;
}

export function assertSame(actual: readonly Result[], expected: readonly Result[], what: string, { tolerance = 0, zeros }: Closeness = {}): void {
  assert.equal(actual.length, expected.length, `${what}: number of results`);
  expected.forEach((wanted, at) => {
    const got = actual[at];
    const which = `${what}, result ${at}`;
    assert.deepEqual(got?.shape, wanted.shape, `${which}: shape`);
    assert.equal(got?.dtype, wanted.dtype, `${which}: dtype`);
    assert.equal(got?.values.length, wanted.values.length, `${which}: number of elements`);
    for (let element = 0; element < wanted.values.length; element++) {
      const [a, b] = [got?.values[element] ?? NaN, wanted.values[element] ?? NaN];
      if (Object.is(a, b) || (a === b && (zeros !== undefined || tolerance > 0))) continue;
      if (Number.isFinite(a) && Number.isFinite(b) && Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b))) continue;
      const show = (list: ArrayLike<number>) => [...Array.from(list).slice(0, 24)].map((value) => (Object.is(value, -0) ? "-0" : String(value))).join(" ");
      assert.fail(`${which}, element ${element}: ours ${Object.is(a, -0) ? "-0" : a}, tfjs's ${Object.is(b, -0) ? "-0" : b}\n ours  ${show(got?.values ?? [])}\n tfjs's ${show(wanted.values)}`);
    }
  });
}
