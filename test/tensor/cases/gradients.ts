/** What is differentiated, by kernel. Values keep clear of kinks unless a case is about one. */
import * as tf from "../../../shared/models/tfjs.ts";
import { bool, float, int, type Call, type Spec } from "../support/both.ts";
import { average, depthwise, maximum, named, plain, windows } from "./convolution.ts";

export interface Differentiable {
  readonly name: string;
  /** Differentiated by its float tensors; others are constants. */
  readonly inputs: readonly Spec[];
  readonly call: Call;
}

const around = [0.3, -0.7, 1.2, -2.4, 0.05, 3.1, -0.9, 2.2];
const inside = [0.3, -0.7, 0.92, -0.4, 0.05, 0.6];
const positive = [0.3, 0.7, 1.2, 2.4, 0.05, 3.1];
const kink = [0, 1, -1, 0, 2.5];

const on = (...specs: Spec[]) => ({ inputs: specs, name: specs.map(({ shape, dtype }) => `${dtype} [${shape.join(",")}]`).join(", ") });
/** One tensor of several shapes. */
const unary = (call: Call, values: readonly number[] = around): Differentiable[] => [[], [4], [2, 3], [2, 1, 3, 2]].map((shape) => ({ ...on(float(shape, values)), call }));
const each = (call: Call, ...shapes: (readonly number[])[]): Differentiable[] => shapes.map((shape) => ({ ...on(float(shape, around)), call }));
/** A picture, and a filter for it. */
const filtered = (call: (w: (typeof windows)[number]) => Call, out: number | null): Differentiable[] =>
  windows.map((w) => ({ name: named(w), inputs: [float(w.size, around), ...(out === null ? [] : [float([...w.window, w.size[3], out], inside)])], call: call(w) }));
/** Two tensors, every way to broadcast: the gradient of the smaller one is a sum. */
const binary = (call: Call, left: readonly number[] = around, right: readonly number[] = [1.3, -0.6, 2.1]): Differentiable[] =>
  (
    [
      [[], []],
      [[3], [3]],
      [[2, 3], [3]],
      [[2, 3], []],
      [[], [2, 3]],
      [[2, 1], [1, 3]],
      [[2, 3, 1], [3, 2]],
      [[1, 1], [2, 2]],
    ] as const
  ).map(([a, b]) => ({ ...on(float(a, left), float(b, right)), call }));

/** tfjs's own gradients of these do not sum over what was broadcast, and fail. */
const equal = (list: readonly Differentiable[]) => list.filter(({ inputs: [a, b] }) => a?.shape.join() === b?.shape.join());

export const differentiable: Readonly<Record<string, readonly Differentiable[]>> = {
  Abs: [...unary((x) => tf.abs(x)), ...unary((x) => tf.abs(x), kink)],
  Acos: unary((x) => tf.acos(x), inside),
  Acosh: unary((x) => tf.acosh(x), [1.2, 2.5, 7]),
  Add: binary((a, b) => tf.add(a, b)),
  AddN: [{ ...on(float([2, 3], around), float([2, 3], inside), float([2, 3], kink)), call: (...list) => tf.addN(list) }],
  ArgMax: [{ ...on(float([2, 3], around)), call: (x) => tf.mul(tf.cast(tf.argMax(x, 1), "float32"), tf.sum(x, 1)) }],
  ArgMin: [{ ...on(float([2, 3], around)), call: (x) => tf.mul(tf.cast(tf.argMin(x, 1), "float32"), tf.sum(x, 1)) }],
  Asin: unary((x) => tf.asin(x), inside),
  Asinh: unary((x) => tf.asinh(x)),
  Atan: unary((x) => tf.atan(x)),
  Atanh: unary((x) => tf.atanh(x), inside),
  AvgPool: filtered(average, null),
  BatchMatMul: [
    ...([[false, false], [true, false], [false, true], [true, true]] as const).flatMap(([turnA, turnB]): Differentiable[] =>
      [[], [2], [2, 2]].map((batch) => ({ ...on(float([...batch, ...(turnA ? [3, 2] : [2, 3])], around), float([...batch, ...(turnB ? [4, 3] : [3, 4])], inside)), call: (a, b) => tf.matMul(a, b, turnA, turnB) })),
    ),
  ],
  Cast: [...unary((x) => tf.cast(x, "float32")), { ...on(float([3], around)), call: (x) => tf.mul(x, tf.cast(tf.cast(x, "int32"), "float32")) }],
  Ceil: unary((x) => tf.ceil(x)),
  ClipByValue: [...unary((x) => tf.clipByValue(x, -1, 1)), ...unary((x) => tf.clipByValue(x, -1, 1), kink)],
  Concat: [
    { ...on(float([2], around), float([3], inside)), call: (...list) => tf.concat(list) },
    { ...on(float([2, 3], around), float([2, 1], inside), float([2, 2], kink)), call: (...list) => tf.concat(list, 1) },
  ],
  Conv2D: filtered(plain, 3),
  Conv2DBackpropInput: [{ ...on(float([2, 3, 3, 2], around), float([2, 2, 3, 2], inside)), call: (dy, filter) => tf.conv2dTranspose(dy as tf.Tensor4D, filter as tf.Tensor4D, [2, 6, 6, 3], 2, "valid") }],
  Cos: unary((x) => tf.cos(x)),
  Cosh: unary((x) => tf.cosh(x)),
  // Along the last axis only: along others tfjs permutes the gradient, and fails.
  Cumsum: [...each((x) => tf.cumsum(x, 0), [4]), ...each((x) => tf.cumsum(x, 1, true), [2, 3]), ...each((x) => tf.cumsum(x, 1, false, true), [2, 3])],
  DepthwiseConv2dNative: filtered(depthwise, 2),
  Elu: unary((x) => tf.elu(x)),
  Erf: unary((x) => tf.erf(x)),
  Exp: unary((x) => tf.exp(x)),
  ExpandDims: each((x) => tf.expandDims(x, 1), [3], [2, 3]),
  Expm1: unary((x) => tf.expm1(x)),
  Floor: unary((x) => tf.floor(x)),
  FloorDiv: binary((a, b) => tf.mul(tf.cast(tf.floorDiv(a, b), "float32"), a)),
  FusedBatchNorm: [{ ...on(float([2, 3, 4], around), float([4], inside), float([4], positive), float([4], around), float([4], inside)), call: (x, mean, variance, offset, scale) => tf.batchNorm(x, mean, variance, offset, scale) }],
  GatherV2: [
    { ...on(float([2, 5, 3], around), int([2, 4], [4, 0, 2, 2, 1])), call: (x, indices) => tf.gather(x, indices, 1, 1) },
    { ...on(float([4], around), int([3], [2, 0, 2])), call: (x, at) => tf.gather(x, at) },
    { ...on(float([4, 2], around), int([2, 2], [3, 1, 1, 1])), call: (x, at) => tf.gather(x, at) },
    { ...on(float([2, 4], around), int([3], [3, 0, 3])), call: (x, at) => tf.gather(x, at, 1) },
    { ...on(float([2, 4, 2], around), int([2], [1, 1])), call: (x, at) => tf.gather(x, at, 1) },
  ],
  GreaterEqual: [{ ...on(float([3], around), float([3], inside)), call: (a, b) => tf.mul(tf.cast(tf.greaterEqual(a, b), "float32"), a) }],
  Identity: unary((x) => tf.clone(x)),
  IsFinite: [{ ...on(float([3], around)), call: (x) => tf.mul(tf.cast(tf.isFinite(x), "float32"), x) }],
  IsInf: [{ ...on(float([3], around)), call: (x) => tf.mul(tf.cast(tf.isInf(x), "float32"), x) }],
  IsNan: [{ ...on(float([3], around)), call: (x) => tf.mul(tf.cast(tf.isNaN(x), "float32"), x) }],
  LeakyRelu: unary((x) => tf.leakyRelu(x, 0.2)),
  Log: unary((x) => tf.log(x), positive),
  Log1p: unary((x) => tf.log1p(x), positive),
  Max: [...each((x) => tf.max(x), [], [4], [2, 3]), ...each((x) => tf.max(x, -1, true), [2, 3]), ...each((x) => tf.max(x, [0, 2]), [2, 3, 2]), { ...on(float([4], [1, 3, 3, 2])), call: (x) => tf.max(x) }],
  MaxPool: filtered(maximum, null),
  Maximum: [...equal(binary((a, b) => tf.maximum(a, b))), { ...on(float([3], [1, 2, 3]), float([3], [1, 3, 2])), call: (a, b) => tf.maximum(a, b) }],
  Mean: [...each((x) => tf.mean(x), [], [4], [2, 3]), ...each((x) => tf.mean(x, -1, true), [2, 3]), ...each((x) => tf.mean(x, [0, 2]), [2, 3, 2])],
  Min: [...each((x) => tf.min(x), [], [4], [2, 3]), ...each((x) => tf.min(x, 0), [2, 3])],
  Minimum: [...equal(binary((a, b) => tf.minimum(a, b))), { ...on(float([3], [1, 2, 3]), float([3], [1, 3, 2])), call: (a, b) => tf.minimum(a, b) }],
  Mod: binary((a, b) => tf.mod(a, b)),
  Multiply: [...binary((a, b) => tf.mul(a, b)), { ...on(float([3], around)), call: (x) => tf.mul(x, x) }],
  Neg: unary((x) => tf.neg(x)),
  OneHot: [{ ...on(float([2, 3], around), int([2], [2, 0])), call: (x, at) => tf.mul(x, tf.oneHot(at, 3, 1, 0, "float32")) }],
  OnesLike: [{ ...on(float([3], around)), call: (x) => tf.mul(x, tf.onesLike(x)) }],
  Pack: [0, 1].map((axis) => ({ ...on(float([2], around), float([2], inside), float([2], kink)), call: (...list: tf.Tensor[]) => tf.stack(list, axis) })),
  PadV2: [...each((x) => tf.pad(x, [[1, 2]], 5), [3]), ...each((x) => tf.pad(x, [[0, 1], [2, 0]]), [2, 2])],
  Pow: binary((a, b) => tf.pow(a, b), positive, [2, -1.5, 0.5]),
  Prelu: [...equal(binary((x, alpha) => tf.prelu(x, alpha))), { ...on(float([2, 3], around), float([3], inside)), call: (x, alpha) => tf.prelu(x, alpha) }],
  RealDiv: binary((a, b) => tf.div(a, b)),
  Prod: [...each((x) => tf.prod(x), [4], [2, 3]), ...each((x) => tf.prod(x, 1, true), [2, 3]), ...each((x) => tf.prod(x, [0, 2]), [2, 3, 2]), { ...on(float([4], [2, 0, 3, -1])), call: (x) => tf.prod(x) }],
  Reciprocal: unary((x) => tf.reciprocal(x)),
  Relu: [...unary((x) => tf.relu(x)), ...unary((x) => tf.relu(x), kink)],
  Relu6: unary((x) => tf.relu6(x), [...around, 6.5]),
  Reshape: each((x) => tf.reshape(x, [3, 2]), [6], [2, 3], [1, 6]),
  Reverse: [...each((x) => tf.reverse(x), [4], [2, 3]), ...each((x) => tf.reverse(x, 1), [2, 3, 2])],
  Round: unary((x) => tf.round(x)),
  Rsqrt: unary((x) => tf.rsqrt(x), positive),
  Select: [
    { ...on(bool([2, 3]), float([2, 3], around), float([2, 3], inside)), call: (c, a, b) => tf.where(c, a, b) },
    { ...on(bool([2, 3]), float([3], around), float([], inside)), call: (c, a, b) => tf.where(c, tf.broadcastTo(a, [2, 3]), tf.broadcastTo(b, [2, 3])) },
  ],
  Selu: unary((x) => tf.selu(x)),
  Sigmoid: unary((x) => tf.sigmoid(x)),
  Sign: unary((x) => tf.sign(x)),
  Sin: unary((x) => tf.sin(x)),
  Sinh: unary((x) => tf.sinh(x)),
  Slice: [...each((x) => tf.slice(x, [1], [2]), [4]), ...each((x) => tf.slice(x, [0, 1], [2, 2]), [3, 4])],
  Softmax: each((x) => tf.softmax(x), [4], [2, 3], [2, 3, 4]),
  Softplus: unary((x) => tf.softplus(x)),
  SplitV: [
    ...each((x) => tf.split(x, 3)[1] ?? x, [6], [3, 2]),
    ...each((x) => tf.concat(tf.split(x, [1, 2, 1], 1).reverse(), 1), [2, 4], [2, 4, 2]),
  ],
  Sqrt: unary((x) => tf.sqrt(x), positive),
  Square: unary((x) => tf.square(x)),
  SquaredDifference: equal(binary((a, b) => tf.squaredDifference(a, b))),
  Step: unary((x) => tf.step(x, 0.5)),
  Sub: binary((a, b) => tf.sub(a, b)),
  Sum: [...each((x) => tf.sum(x), [], [4], [2, 3]), ...each((x) => tf.sum(x, -1, true), [2, 3]), ...each((x) => tf.sum(x, [0, 2]), [2, 3, 2])],
  Tan: unary((x) => tf.tan(x)),
  Tanh: unary((x) => tf.tanh(x)),
  Tile: [...each((x) => tf.tile(x, [3]), [2]), ...each((x) => tf.tile(x, [2, 3]), [2, 2]), ...each((x) => tf.broadcastTo(x, [2, 3]), [3], [1, 3], [2, 1], [])],
  Transpose: [...each((x) => tf.transpose(x), [4], [2, 3]), ...each((x) => tf.transpose(x, [1, 2, 0]), [2, 3, 2])],
  Unpack: [...each((x) => tf.unstack(x)[1] ?? x, [3], [3, 2]), ...each((x) => tf.addN(tf.unstack(x, 1)), [2, 3])],
  UnsortedSegmentSum: [{ ...on(float([4, 2], around), int([4], [1, 0, 1, 2])), call: (x, ids) => tf.unsortedSegmentSum(x, ids as tf.Tensor1D, 3) }],
  ZerosLike: [{ ...on(float([3], around)), call: (x) => tf.add(x, tf.zerosLike(x)) }],
};
