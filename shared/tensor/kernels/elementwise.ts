/** Kernels that work element by element, with numpy broadcasting where there are two inputs. */
import type { DataType } from "@tensorflow/tfjs-core";
import { binary, cast, fill, node, scalar, type DType, type Node } from "../graph.ts";
import { broadcastShape, input, toDType, unary, type Inputs, type Rule, type Rules } from "./rule.ts";

/** ONNX has the operator under the same name, for float32, and so is the result: tfjs refuses other inputs, or casts them. */
const floatUnary = ["Ceil", "Cos", "Cosh", "Elu", "Erf", "Floor", "Log", "Sigmoid", "Sin", "Sqrt", "Tanh"];
/** The same, but tfjs puts the result of integers back into integers. */
const roundTripUnary = ["Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Reciprocal", "Round", "Selu", "Sinh", "Softplus"];
/** ONNX has these for integers too. */
const anyUnary = ["Abs", "Neg", "Relu"];
const arithmetic = { Add: "Add", Sub: "Sub", Multiply: "Mul", RealDiv: "Div", Maximum: "Max", Minimum: "Min", Pow: "Pow" };
const comparisons = { Less: "Less", LessEqual: "LessOrEqual", Greater: "Greater", GreaterEqual: "GreaterOrEqual" };
const logic = { Equal: "Equal", LogicalAnd: "And", LogicalOr: "Or" };

const same = (names: readonly string[], make: (op: string) => Rule): Rules => Object.fromEntries(names.map((name) => [name, make(name)]));
const renamed = (names: Readonly<Record<string, string>>, make: (op: string) => Rule): Rules => Object.fromEntries(Object.entries(names).map(([kernel, op]) => [kernel, make(op)]));
const x = (inputs: Inputs) => input(inputs, "x");
const floatX = (inputs: Inputs) => cast(input(inputs, "x"), "float32");
const ab = (inputs: Inputs): [Node, Node] => [input(inputs, "a"), input(inputs, "b")];
const two = (op: string, [a, b]: readonly [Node, Node], dtype: DType = a.dtype) => binary(op, a, b, broadcastShape(a.shape, b.shape), dtype);
const test = (op: string, a: Node, b: Node) => two(op, [a, b], "bool");
const float = (value: unknown) => scalar(Number(value), "float32");
const where = (condition: Node, yes: Node, no: Node) => node("Where", [condition, yes, no], broadcastShape(condition.shape, broadcastShape(yes.shape, no.shape)), yes.dtype);
/** ONNX does not count with booleans: they become integers, and the result is put back. */
const counting = (value: Node) => (value.dtype === "bool" ? cast(value, "int32") : value);
/** A number as tfjs stores it in an array of another type: cut towards zero. */
const storedAs = (value: Node, dtype: DType) => (dtype === "bool" ? cast(cast(value, "int32"), "bool") : cast(value, dtype));
const roundTrip =
  (compute: (value: Node) => Node): Rule =>
  (inputs) =>
    storedAs(compute(floatX(inputs)), x(inputs).dtype);
const counted = (op: string, [a, b]: readonly [Node, Node]) => storedAs(two(op, [counting(a), counting(b)]), a.dtype);
const remainder = (a: Node, b: Node) => node("Mod", [a, b], broadcastShape(a.shape, b.shape), "float32", { attributes: { fmod: { int: 1 } } });
const clip = (value: Node, least: number, most: number) => node("Clip", [value, scalar(least, value.dtype), scalar(most, value.dtype)], value.shape, value.dtype);

export const elementwise: Rules = {
  ...same(floatUnary, (op) => (inputs) => unary(op, floatX(inputs))),
  // tfjs computes in float64 and rounds once. A last place counts where the result is large: of integers, and near a pole.
  Exp: (inputs, _attributes, strict) => (strict && x(inputs).dtype !== "float32" ? cast(unary("Exp", cast(x(inputs), "float64")), "float32") : unary("Exp", floatX(inputs))),
  Tan: (inputs, _attributes, strict) => {
    if (!strict) return unary("Tan", floatX(inputs));
    const exact = cast(floatX(inputs), "float64");
    return cast(two("Div", [unary("Sin", exact), unary("Cos", exact)]), "float32");
  },
  ...same(roundTripUnary, (op) => roundTrip((value) => unary(op, value))),
  ...same(anyUnary, (op) => (inputs) => storedAs(unary(op, counting(x(inputs))), x(inputs).dtype)),
  ...renamed(arithmetic, (op) => (inputs) => counted(op, ab(inputs))),
  ...renamed(comparisons, (op) => (inputs) => {
    const [a, b] = ab(inputs);
    return test(op, counting(a), counting(b));
  }),
  ...renamed(logic, (op) => (inputs) => two(op, ab(inputs), "bool")),
  NotEqual: (inputs) => unary("Not", two("Equal", ab(inputs), "bool")),
  LogicalNot: (inputs) => unary("Not", x(inputs)),
  IsNan: (inputs) => unary("IsNaN", floatX(inputs), "bool"),
  IsInf: (inputs) => unary("IsInf", floatX(inputs), "bool"),
  IsFinite: (inputs) => test("Less", unary("Abs", floatX(inputs)), float(Infinity)),
  Rsqrt: (inputs) => unary("Reciprocal", unary("Sqrt", floatX(inputs))),
  // Of NaN it is 0 in tfjs, and NaN in ONNX.
  Sign: (inputs) => {
    const value = x(inputs);
    if (value.dtype !== "float32") return storedAs(unary("Sign", counting(value)), value.dtype);
    return where(unary("IsNaN", value, "bool"), float(0), unary("Sign", value));
  },
  Square: (inputs) => counted("Mul", [x(inputs), x(inputs)]),
  Expm1: roundTrip((value) => two("Sub", [unary("Exp", value), float(1)])),
  Log1p: roundTrip((value) => unary("Log", two("Add", [value, float(1)]))),
  Relu6: (inputs) => storedAs(clip(counting(x(inputs)), 0, 6), x(inputs).dtype),
  ClipByValue: (inputs, { clipValueMin, clipValueMax }) => storedAs(clip(counting(x(inputs)), Number(clipValueMin), Number(clipValueMax)), x(inputs).dtype),
  LeakyRelu: (inputs, { alpha }) => node("LeakyRelu", [floatX(inputs)], x(inputs).shape, "float32", { attributes: { alpha: { float: Number(alpha) } } }),
  Prelu: (inputs) => {
    const [value, alpha] = [floatX(inputs), cast(input(inputs, "alpha"), "float32")];
    return where(test("GreaterOrEqual", value, float(0)), value, two("Mul", [value, alpha]));
  },
  // NaN stays NaN in tfjs, so the comparison alone won't do.
  Step: (inputs, { alpha }, strict) => roundTrip((value) => where(unary("IsNaN", value, "bool"), value, where(test("Greater", value, float(0)), float(1), float(alpha))))(inputs, {}, strict),
  SquaredDifference: (inputs) => {
    const [a, b] = ab(inputs);
    const difference = two("Sub", [counting(a), counting(b)]);
    return storedAs(two("Mul", [difference, difference]), a.dtype);
  },
  FusedBatchNorm: (inputs, { varianceEpsilon }) => {
    const [mean, variance, scale, offset] = [input(inputs, "mean"), input(inputs, "variance"), inputs["scale"], inputs["offset"]];
    const deviation = unary("Sqrt", two("Add", [variance, float(varianceEpsilon ?? 0.001)]));
    const normal = two("Div", [two("Sub", [x(inputs), mean]), deviation]);
    const scaled = scale === undefined ? normal : two("Mul", [normal, scale]);
    return offset === undefined ? scaled : two("Add", [scaled, offset]);
  },
  // In float32 also for integers: ONNX's integer Div truncates towards zero. Exact below 2^24.
  FloorDiv: (inputs) => {
    const [a, b] = ab(inputs);
    return cast(unary("Floor", two("Div", [cast(a, "float32"), cast(b, "float32")])), "int32");
  },
  // The result has the divisor's sign, as in Python. ONNX's integer Mod does so; the float one follows C, and is mended where the signs differ.
  Mod: (inputs) => {
    const [a, b] = ab(inputs);
    if (a.dtype !== "float32") return counted("Mod", [a, b]);
    const rest = remainder(a, b);
    const agree = test("Equal", test("Less", a, float(0)), test("Less", b, float(0)));
    return where(agree, rest, remainder(two("Add", [rest, b]), b));
  },
  EluGrad: (inputs) => {
    const [dy, y] = [input(inputs, "dy"), input(inputs, "y")];
    return where(test("GreaterOrEqual", y, float(0)), dy, two("Mul", [dy, two("Add", [y, float(1)])]));
  },
  AddN: (inputs) => {
    const [first, ...rest] = Object.values(inputs).filter((value) => value !== undefined);
    if (first === undefined) throw new TypeError("AddN without inputs");
    return rest.reduce((sum, term) => two("Add", [sum, term]), first);
  },
  // tfjs broadcasts the three to one shape before it calls.
  Select: (inputs) => {
    const [condition, yes, no] = [input(inputs, "condition"), input(inputs, "t"), input(inputs, "e")];
    return storedAs(where(condition, counting(yes), counting(no)), yes.dtype);
  },
  Cast: (inputs, { dtype }) => cast(x(inputs), toDType(dtype as DataType)),
  Identity: (inputs) => x(inputs),
  ZerosLike: (inputs) => fill(x(inputs).shape, x(inputs).dtype, 0),
  OnesLike: (inputs) => fill(x(inputs).shape, x(inputs).dtype, 1),
  Fill: (_inputs, { shape, value, dtype }) => fill(shape as number[], toDType((dtype ?? "float32") as DataType), Number(value)),
};
