/** Cases of shared/tensor/kernels/elementwise.ts. */
import { engine } from "@tensorflow/tfjs-core";
import * as tf from "../../../shared/models/tfjs.ts";
import { one, two, integers, special, shapes, type Cases } from "../support/case.ts";
import { bool, float, int, type Call } from "../support/both.ts";

const close = { tolerance: 2e-6 };
const floatOnly = { ints: false, bools: false } as const;
const small = [0, -0, 1, -1, 0.5, -0.5, 0.25, -0.999, 0.999, 2, -2, 5, -5, 1e-8, Infinity, -Infinity, NaN];

const same = shapes.map((shape) => [shape, shape] as const);
const zeroTimes = "the algebra of constants makes 0 · x and 0 / x zero, whatever x is";
const where: Call = (condition, yes, no) => tf.where(condition, yes, no);

export const elementwise: Cases = {
  Acos: one((x) => tf.acos(x), { ...close, ints: [0, 1, -1], bools: false }),
  Acosh: one((x) => tf.acosh(x), { ...close, ints: [1, 2, 7], bools: false }),
  Asin: one((x) => tf.asin(x), { ...close, ints: [0, 1, -1] }),
  Asinh: one((x) => tf.asinh(x), { ...close, ints: [0, 1, -1, 3, -3] }),
  Atan: one((x) => tf.atan(x), { ...close, ints: [0, 1, -1, 3, -3] }),
  Atanh: one((x) => tf.atanh(x), { ...close, ints: [0], bools: false }),
  Ceil: one((x) => tf.ceil(x), floatOnly),
  Cos: one((x) => tf.cos(x), { ...close, floats: small, ...floatOnly }),
  Cosh: one((x) => tf.cosh(x), { ...close, floats: small, ...floatOnly }),
  Elu: one((x) => tf.elu(x), { ...close, ...floatOnly }),
  Erf: one((x) => tf.erf(x), { ...close, bools: false }),
  Exp: one((x) => tf.exp(x), { ints: [0, 1, -1, 20, -20], ...close, floats: [...small, 80, -80, 100, -200] }),
  Floor: one((x) => tf.floor(x), floatOnly),
  Log: one((x) => tf.log(x), { ...close, ...floatOnly }),
  Reciprocal: one((x) => tf.reciprocal(x), { ints: [1, -1, 2, -2, 3], bools: false }),
  Round: one((x) => tf.round(x)),
  Sigmoid: one((x) => tf.sigmoid(x), { ...close, ...floatOnly }),
  Sin: one((x) => tf.sin(x), { ...close, floats: small, ...floatOnly }),
  Sinh: one((x) => tf.sinh(x), { ...close, floats: small, ints: [0, 1, -1, 5] }),
  Softplus: one((x) => tf.softplus(x), { ...close, ints: [0, 1, -1, 3, -3], bools: false }),
  Sqrt: one((x) => tf.sqrt(x), { ...close, ...floatOnly }),
  Tan: one((x) => tf.tan(x), { ...close, floats: small, ...floatOnly }),
  Tanh: one((x) => tf.tanh(x), { ...close, ...floatOnly }),
  Selu: one((x) => tf.selu(x), { ...close, ints: [0, 1, -1, 3, -3] }),
  Abs: one((x) => tf.abs(x)),
  Neg: one((x) => tf.neg(x)),
  Sign: one((x) => tf.sign(x)),
  Relu: one((x) => tf.relu(x)),
  Add: two((a, b) => tf.add(a, b), { bools: "mixed" }),
  Sub: two((a, b) => tf.sub(a, b), { bools: "mixed" }),
  Multiply: [...two((a, b) => tf.mul(a, b), { onlyInputs: zeroTimes }), ...two((a, b) => tf.mul(a, b), { left: [2, 0, -1.5], right: [1, 0, 3] })],
  RealDiv: [...two((a, b) => tf.div(a, b), { ints: false, bools: "mixed", onlyInputs: zeroTimes }), ...two((a, b) => tf.div(a, b), { left: [2, 0, -1.5], right: [1, 4, 3], ints: false, bools: "mixed" })],
  Maximum: two((a, b) => tf.maximum(a, b)),
  Minimum: two((a, b) => tf.minimum(a, b)),
  // IEEE's pow(1, NaN) and pow(±1, ±∞) are 1, JavaScript's are NaN: these are left out.
  Pow: [
    ...two((a, b) => tf.pow(a, b), { ...close, left: small, right: [0, 1, 2, 3, -1, -2, 0.5, -0.5, 1 / 3, -0], ints: [[0, 1, 2, 3, -2], [0, 1, 2, 5, 3]] }),
    ...two((a, b) => tf.pow(a, b), { ...close, left: [0, -0, 2, -2, 0.5, -0.5, NaN, Infinity, -Infinity], right: [NaN, Infinity, -Infinity, 0], ints: false, bools: false }),
  ],
  Equal: two((a, b) => tf.equal(a, b)),
  NotEqual: two((a, b) => tf.notEqual(a, b)),
  Less: two((a, b) => tf.less(a, b)),
  LessEqual: two((a, b) => tf.lessEqual(a, b)),
  Greater: two((a, b) => tf.greater(a, b)),
  GreaterEqual: two((a, b) => tf.greaterEqual(a, b)),
  LogicalAnd: two((a, b) => tf.logicalAnd(tf.cast(a, "bool"), tf.cast(b, "bool"))),
  LogicalOr: two((a, b) => tf.logicalOr(tf.cast(a, "bool"), tf.cast(b, "bool"))),
  LogicalNot: one((x) => tf.logicalNot(tf.cast(x, "bool"))),
  IsNan: one((x) => tf.isNaN(x)),
  IsInf: one((x) => tf.isInf(x)),
  IsFinite: one((x) => tf.isFinite(x)),
  Rsqrt: one((x) => tf.rsqrt(x), { ...close, ...floatOnly }),
  Square: one((x) => tf.square(x), { ints: [0, 1, -1, 2, -2, 300] }),
  Expm1: one((x) => tf.expm1(x), { ...close, floats: small, ints: [0, 1, -1, 5] }),
  Log1p: one((x) => tf.log1p(x), { ...close, ints: [0, 1, 7] }),
  Relu6: one((x) => tf.relu6(x)),
  ClipByValue: one((x) => tf.clipByValue(x, -1, 2)),
  LeakyRelu: one((x) => tf.leakyRelu(x, 0.2), close),
  Prelu: two((x, alpha) => tf.prelu(x, alpha), { ints: false, bools: false }),
  Step: one((x) => tf.step(x, 0.25)),
  FusedBatchNorm: [
    ...[true, false].map((whole): Cases[string][number] => ({ ...close, name: whole ? "scaled and moved" : "bare", inputs: [float([2, 3, 4], small), float([4], [0.5, -1]), float([4], [2, 0.25]), float([4], [1, -2, 3]), float([4], [0.1])], call: (x, mean, variance, offset, scale) => (whole ? tf.batchNorm(x, mean, variance, offset, scale) : tf.batchNorm(x, mean, variance)) })),
  ],
  SquaredDifference: two((a, b) => tf.squaredDifference(a, b), { tolerance: 1e-7, ints: [[1, 2, -3], [5, 0, 7, -2]] }),
  FloorDiv: two((a, b) => tf.floorDiv(a, b), { left: [7.5, -7.5, 6, -6, 0, 1e6], right: [2, 2.5, -2, -0.5], ints: [[7, -7, 6, -6, 0], [2, 3, -2, -3]], bools: false }),
  Mod: two((a, b) => tf.mod(a, b), { left: special.filter((value) => Math.abs(value) !== 1e-8), ints: [[7, -7, 6, -6, 0], [2, 3, -2, -3]], bools: "mixed" }),
  EluGrad: two((dy, y) => engine().runKernel("EluGrad", { dy, y }), { ints: false, bools: false, onlyInputs: zeroTimes, sizes: same }),
  AddN: [...two((a, b) => tf.addN([a, b, a]), { ints: [[1, 2], [3, 4]], bools: false, sizes: same }).filter(({ inputs: [a, b] }) => a?.dtype === b?.dtype), ...one((x) => tf.addN([x]), { bools: false })],
  Select: [
    { name: "same shapes", inputs: [bool([3, 7]), float([3, 7], special), float([3, 7], [9])], call: where },
    { name: "scalars", inputs: [bool([]), float([], [1]), float([], [2])], call: where },
    { name: "broadcast", inputs: [bool([2, 1, 3]), int([4, 1], integers), int([3], [5])], call: where },
    { name: "bools", inputs: [bool([4]), bool([4], [0, 1]), bool([4], [1])], call: where },
    { name: "empty", inputs: [bool([0]), float([0], [1]), float([0], [2])], call: where },
  ],
  Cast: [...one((x) => tf.cast(x, "int32"), { floats: [0, -0, 1.9, -1.9, 2.5, -2.5, 1e6, -1e6] }), ...one((x) => tf.cast(x, "float32")), ...one((x) => tf.cast(x, "bool"))],
  Identity: one((x) => tf.clone(x)),
  ZerosLike: one((x) => tf.zerosLike(x)),
  OnesLike: one((x) => tf.onesLike(x)),
  Fill: [
    ...shapes.map((shape) => ({ name: `float32 [${shape.join(",")}]`, inputs: [], call: () => tf.fill([...shape], -2.5) })),
    ...special.map((value) => ({ name: `${value}`, inputs: [], call: () => tf.fill([2], value) })),
    { name: "int32", inputs: [], call: () => tf.fill([2, 2], 7, "int32") },
  ],
};
