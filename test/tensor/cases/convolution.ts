/** Cases of shared/tensor/kernels/convolution.ts. */
import { grad, grads } from "@tensorflow/tfjs-core";
import "../../../shared/models/gradients.ts";
import * as tf from "../../../shared/models/tfjs.ts";
import { float, type Call } from "../support/both.ts";
import type { Case, Cases } from "../support/case.ts";

const close = { tolerance: 1e-5 };
const left = [1, -2, 0.5, 3, -0.25, 4, 7, -1, 0, 2.5, -6, 0.125, 9];
const right = [0.5, 2, -1, 0.25, 3, -2, 1];

type Pad = "same" | "valid" | number;
interface Windows {
  readonly size: readonly [number, number, number, number];
  readonly window: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly pad: Pad;
  readonly dilations?: readonly [number, number];
}

export const windows: readonly Windows[] = [
  { size: [1, 4, 4, 1], window: [2, 2], strides: [1, 1], pad: "valid" },
  { size: [2, 5, 6, 3], window: [3, 2], strides: [1, 1], pad: "same" },
  { size: [2, 7, 5, 2], window: [3, 3], strides: [2, 2], pad: "valid" },
  { size: [1, 6, 8, 2], window: [3, 3], strides: [2, 3], pad: "same" },
  { size: [2, 5, 5, 1], window: [3, 3], strides: [2, 2], pad: 1 },
  // What the strides leave over at the edge belongs to no window.
  { size: [1, 8, 7, 2], window: [2, 3], strides: [3, 2], pad: "valid" },
  { size: [3, 3, 3, 4], window: [1, 1], strides: [1, 1], pad: "same" },
];
const dilated: readonly Windows[] = [
  { size: [1, 7, 8, 2], window: [3, 2], strides: [1, 1], pad: "same", dilations: [2, 3] },
  { size: [2, 6, 6, 1], window: [2, 2], strides: [1, 1], pad: "valid", dilations: [2, 2] },
];

export const named = ({ size, window, strides, pad, dilations }: Windows) => `[${size.join(",")}] by ${window.join("×")}, strides ${strides.join()}, ${typeof pad === "number" ? `padding ${pad}` : pad}${dilations === undefined ? "" : `, dilations ${dilations.join()}`}`;
const pair = (list: readonly [number, number] | undefined): [number, number] => [list?.[0] ?? 1, list?.[1] ?? 1];

export const plain = (w: Windows) => (x: tf.Tensor, filter: tf.Tensor) => tf.conv2d(x as tf.Tensor4D, filter as tf.Tensor4D, pair(w.strides), w.pad, "NHWC", pair(w.dilations));
export const depthwise = (w: Windows) => (x: tf.Tensor, filter: tf.Tensor) => tf.depthwiseConv2d(x as tf.Tensor4D, filter as tf.Tensor4D, pair(w.strides), w.pad, "NHWC", pair(w.dilations));
type Convolve = (w: Windows) => (x: tf.Tensor, filter: tf.Tensor) => tf.Tensor;
type Pool = (w: Windows) => (x: tf.Tensor) => tf.Tensor;

const both = (list: readonly Windows[], out: (channels: number) => readonly [number, number], call: (w: Windows) => Call): Case[] =>
  list.map((w) => ({ ...close, name: named(w), inputs: [float(w.size, left), float([...w.window, ...out(w.size[3])], right)], call: call(w) }));
const to3 = (channels: number) => [channels, 3] as const;
const times2 = (channels: number) => [channels, 2] as const;

/** Weighted, so that every place of dy is another number. */
const weighted = (y: tf.Tensor) => tf.mul(y, tf.reshape(tf.range(1, y.size + 1), y.shape));
const gradientOf = (convolve: Convolve, which: 0 | 1) => (w: Windows): Call => (x, filter) => grads((a: tf.Tensor, b: tf.Tensor) => weighted(convolve(w)(a, b)))([x, filter])[which] ?? x;
const poolGradient = (pool: Pool) => (w: Windows): Call => (x) => grad((a: tf.Tensor) => weighted(pool(w)(a)))(x);
const pools = (call: (w: Windows) => Call, list = windows): Case[] => list.map((w) => ({ ...close, name: named(w), inputs: [float(w.size, left)], call: call(w) }));

export const maximum: Pool = (w) => (x) => tf.maxPool(x as tf.Tensor4D, pair(w.window), pair(w.strides), w.pad);
export const average: Pool = (w) => (x) => tf.avgPool(x as tf.Tensor4D, pair(w.window), pair(w.strides), w.pad);

const activations = ["linear", "relu", "relu6", "elu", "sigmoid", "leakyrelu", "prelu"] as const;
const fusedOver = (run: (x: tf.Tensor4D, filter: tf.Tensor4D, bias: tf.Tensor, activation: (typeof activations)[number], preluActivationWeights: tf.Tensor) => tf.Tensor, filter: readonly [number, number], channels: number): Case[] =>
  activations.map((activation) => ({
    ...close,
    name: activation,
    inputs: [float([2, 5, 6, 3], left), float([3, 2, ...filter], right), float([channels], [1, -3, 0.5]), float([channels], [0.1, 0.3])],
    call: (x, weights, bias, alpha) => run(x as tf.Tensor4D, weights as tf.Tensor4D, bias, activation, alpha),
  }));

export const convolutionCases: Cases = {
  Conv2D: [
    ...both([...windows, ...dilated], to3, plain),
    { ...close, name: "channels first", inputs: [float([2, 3, 5, 6], left), float([3, 2, 3, 4], right)], call: (x, filter) => tf.conv2d(x as tf.Tensor4D, filter as tf.Tensor4D, 1, "same", "NCHW") },
    { ...close, name: "paddings of its own", inputs: [float([1, 4, 5, 2], left), float([2, 2, 2, 1], right)], call: (x, filter) => tf.conv2d(x as tf.Tensor4D, filter as tf.Tensor4D, 1, [[0, 0], [1, 0], [0, 2], [0, 0]]) },
  ],
  Conv2DBackpropInput: both(windows, to3, gradientOf(plain, 0)),
  Conv2DBackpropFilter: both(windows, to3, gradientOf(plain, 1)),
  DepthwiseConv2dNative: both([...windows, ...dilated], times2, depthwise),
  DepthwiseConv2dNativeBackpropInput: both(windows, times2, gradientOf(depthwise, 0)),
  DepthwiseConv2dNativeBackpropFilter: both(windows, times2, gradientOf(depthwise, 1)),
  FusedConv2D: fusedOver((x, filter, bias, activation, preluActivationWeights) => tf.fused.conv2d({ x, filter, strides: 1, pad: "same", bias, activation, preluActivationWeights, leakyreluAlpha: 0.1 }), [3, 4], 4),
  FusedDepthwiseConv2D: fusedOver((x, filter, bias, activation, preluActivationWeights) => tf.fused.depthwiseConv2d({ x, filter, strides: 1, pad: "same", bias, activation, preluActivationWeights, leakyreluAlpha: 0.1 }), [3, 2], 6),
  MaxPool: pools(maximum),
  MaxPoolGrad: pools(poolGradient(maximum)),
  AvgPool: pools(average),
  AvgPoolGrad: pools(poolGradient(average)),
};
