/** What a kernel is tried on. A case is a call of tfjs with its tensors; the tables in cases/ have a row for each kernel. */
import { bool, float, int, type Call, type Closeness, type Spec } from "./both.ts";

export interface Case extends Closeness {
  readonly name: string;
  readonly inputs: readonly Spec[];
  readonly call: Call;
  /** Set where the algebra of constants is meant to differ from arithmetic (0 · NaN is 0): the case runs on inputs only. */
  readonly onlyInputs?: string;
}

export type Cases = Readonly<Record<string, readonly Case[]>>;

/** Everything that a float can be. */
export const special = [0, -0, 1, -1, 0.5, -0.5, 2.5, -2.5, 1.5, -1.5, 3, -7.25, 1e-8, -1e-8, 100, -100, 1e30, -1e30, Infinity, -Infinity, NaN];
/** Below 2^24: tfjs's CPU kernels take larger ones through float32 in places. */
export const integers = [0, 1, -1, 2, -2, 3, 7, -7, 100, -100, 16777215, -16777215];

/** Scalars, ranks 1 to 5, an axis of length 1, an empty one. */
export const shapes: readonly (readonly number[])[] = [[], [1], [21], [3, 7], [1, 21], [2, 3, 4], [2, 1, 3, 2], [2, 2, 1, 3, 2], [0], [2, 0, 3]];

const named = (spec: Spec) => `${spec.dtype} [${spec.shape.join(",")}]`;

/** A call with one tensor, on every shape and on the dtypes that it takes. */
export function one(call: Call, options: Closeness & { floats?: readonly number[]; ints?: readonly number[] | false; bools?: boolean } = {}): Case[] {
  const { floats = special, ints = integers, bools = true, ...closeness } = options;
  const specs = [
    ...shapes.map((shape) => float(shape, floats)),
    // A single number is symbolic among constants: these are what the algebra looks for.
    ...floats.slice(0, 4).map((value) => float([], [value])),
    ...(ints === false ? [] : [[], [12], [3, 2, 2], [0]].map((shape) => int(shape, ints))),
    ...(bools ? [[], [5], [2, 3]].map((shape) => bool(shape)) : []),
  ];
  return specs.map((spec) => ({ ...closeness, name: `${named(spec)}${spec.values.length === 1 ? ` ${spec.values[0]}` : ""}`, inputs: [spec], call }));
}

/** Pairs of shapes: equal ones, and every way to broadcast. */
const pairs: readonly (readonly [readonly number[], readonly number[]])[] = [
  [[], []],
  [[21], [21]],
  [[21, 1], [21]],
  [[3, 4], []],
  [[], [3, 4]],
  [[2, 3, 4], [4]],
  [[2, 3, 4], [3, 1]],
  [[2, 1, 4], [1, 3, 1]],
  [[2, 1, 3, 1, 2], [2, 1, 2, 1]],
  [[0, 3], [1, 3]],
  [[0], []],
  [[1, 1], [1]],
];

/**
 * A call with two tensors, on every pair of shapes and on the dtypes that it takes.
 * @param options.bools "mixed": only beside floats, because tfjs's CPU kernel stores what is no boolean (1 + 1 = 2) in an array of booleans
 */
export function two(call: Call, options: Closeness & { left?: readonly number[]; right?: readonly number[]; ints?: readonly [readonly number[], readonly number[]] | false; bools?: boolean | "mixed"; onlyInputs?: string; sizes?: typeof pairs } = {}): Case[] {
  const { left = special, right = [...special].reverse(), ints = [integers, [...integers].reverse()], bools = true, sizes = pairs, ...rest } = options;
  const made = (a: Spec, b: Spec): Case => ({ ...rest, name: `${named(a)} with ${named(b)}`, inputs: [a, b], call });
  return sizes.flatMap(([a, b]) => [
    made(float(a, left), float(b, right)),
    ...(ints === false ? [] : [made(int(a, ints[0]), int(b, ints[1])), made(int(a, ints[0]), float(b, right))]),
    ...(bools === true ? [made(bool(a), bool(b, [0, 1, 0]))] : []),
    ...(bools === false ? [] : [made(bool(a), float(b, right))]),
  ]);
}
