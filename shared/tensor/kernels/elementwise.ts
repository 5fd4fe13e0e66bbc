/** Kernels that work element by element, with numpy broadcasting where there are two inputs. */
import type { DataType } from "@tensorflow/tfjs-core";
import { binary, cast, expand, fill, node, reshape, scalar, type DType, type Node } from "../graph.ts";
import { broadcastShape, input, toDType, unary, type Inputs, type Rule, type Rules } from "./rule.ts";

/** ONNX has the operator under the same name, for float32; other inputs are cast, as tfjs does. */
const floatUnary = ["Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Log", "Reciprocal", "Round", "Sigmoid", "Sin", "Sinh", "Softplus", "Sqrt", "Tan", "Tanh", "Selu"];
/** ONNX has these for integers too. */
const anyUnary = ["Abs", "Neg", "Sign", "Relu"];
const arithmetic = { Add: "Add", Sub: "Sub", Multiply: "Mul", RealDiv: "Div", Maximum: "Max", Minimum: "Min", Pow: "Pow" };
const tests = { Equal: "Equal", Less: "Less", LessEqual: "LessOrEqual", Greater: "Greater", GreaterEqual: "GreaterOrEqual", LogicalAnd: "And", LogicalOr: "Or", LogicalXor: "Xor" };

const same = (names: readonly string[], make: (op: string) => Rule): Rules => Object.fromEntries(names.map((name) => [name, make(name)]));
const renamed = (names: Readonly<Record<string, string>>, make: (op: string) => Rule): Rules => Object.fromEntries(Object.entries(names).map(([kernel, op]) => [kernel, make(op)]));
const x = (inputs: Inputs) => input(inputs, "x");
const floatX = (inputs: Inputs) => cast(input(inputs, "x"), "float32");
const ab = (inputs: Inputs): [Node, Node] => [input(inputs, "a"), input(inputs, "b")];
const two = (op: string, [a, b]: readonly [Node, Node], dtype: DType = a.dtype) => binary(op, a, b, broadcastShape(a.shape, b.shape), dtype);
const test = (op: string, a: Node, b: Node) => two(op, [a, b], "bool");
const float = (value: unknown) => scalar(Number(value), "float32");
const where = (condition: Node, yes: Node, no: Node) => node("Where", [condition, yes, no], broadcastShape(condition.shape, broadcastShape(yes.shape, no.shape)), yes.dtype);
const clip = (value: Node, least: number, most: number) => node("Clip", [value, scalar(least, value.dtype), scalar(most, value.dtype)], value.shape, value.dtype);

export const elementwise: Rules = {
  ...same(floatUnary, (op) => (inputs) => unary(op, floatX(inputs))),
  ...same(anyUnary, (op) => (inputs) => unary(op, x(inputs))),
  ...renamed(arithmetic, (op) => (inputs) => two(op, ab(inputs))),
  ...renamed(tests, (op) => (inputs) => two(op, ab(inputs), "bool")),
  NotEqual: (inputs) => unary("Not", two("Equal", ab(inputs), "bool")),
  LogicalNot: (inputs) => unary("Not", x(inputs)),
  IsNan: (inputs) => unary("IsNaN", floatX(inputs), "bool"),
  IsInf: (inputs) => unary("IsInf", floatX(inputs), "bool"),
  IsFinite: (inputs) => test("Less", unary("Abs", floatX(inputs)), float(Infinity)),
  Rsqrt: (inputs) => unary("Reciprocal", unary("Sqrt", floatX(inputs))),
  Square: (inputs) => two("Mul", [x(inputs), x(inputs)]),
  Expm1: (inputs) => two("Sub", [unary("Exp", floatX(inputs)), float(1)]),
  Log1p: (inputs) => unary("Log", two("Add", [floatX(inputs), float(1)])),
  Relu6: (inputs) => clip(x(inputs), 0, 6),
  ClipByValue: (inputs, { clipValueMin, clipValueMax }) => clip(x(inputs), Number(clipValueMin), Number(clipValueMax)),
  LeakyRelu: (inputs, { alpha }) => node("LeakyRelu", [floatX(inputs)], x(inputs).shape, "float32", { attributes: { alpha: { float: Number(alpha) } } }),
  Prelu: (inputs) => where(test("GreaterOrEqual", x(inputs), float(0)), x(inputs), two("Mul", [x(inputs), input(inputs, "alpha")])),
  // NaN stays NaN in tfjs, so the comparison alone won't do.
  Step: (inputs, { alpha }) => where(unary("IsNaN", floatX(inputs), "bool"), floatX(inputs), where(test("Greater", floatX(inputs), float(0)), float(1), float(alpha))),
  SquaredDifference: (inputs) => {
    const difference = two("Sub", ab(inputs));
    return two("Mul", [difference, difference]);
  },
  // In float32 also for integers: ONNX's integer Div truncates towards zero.
  FloorDiv: (inputs) => {
    const [a, b] = ab(inputs);
    return cast(unary("Floor", two("Div", [cast(a, "float32"), cast(b, "float32")])), a.dtype);
  },
  // The result has the divisor's sign, as in Python; ONNX's float Mod follows C.
  Mod: (inputs) => {
    const [a, b] = ab(inputs);
    return a.dtype === "int32" ? two("Mod", [a, b]) : two("Sub", [a, two("Mul", [unary("Floor", two("Div", [a, b])), b])]);
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
  // A condition of rank 1 before inputs of a higher rank chooses whole rows.
  Select: (inputs) => {
    const [condition, yes, no] = [input(inputs, "condition"), input(inputs, "t"), input(inputs, "e")];
    const rowWise = condition.shape.length === 1 && yes.shape.length > 1;
    return where(rowWise ? reshape(condition, [...condition.shape, ...yes.shape.slice(1).map(() => 1)]) : condition, yes, no);
  },
  Cast: (inputs, { dtype }) => cast(x(inputs), toDType(dtype as DataType)),
  Identity: (inputs) => x(inputs),
  ZerosLike: (inputs) => fill(x(inputs).shape, x(inputs).dtype, 0),
  OnesLike: (inputs) => fill(x(inputs).shape, x(inputs).dtype, 1),
  Fill: (_inputs, { shape, value, dtype }) => fill(shape as number[], toDType((dtype ?? "float32") as DataType), Number(value)),
  BroadcastTo: (inputs, { shape }) => expand(x(inputs), shape as number[]),
};
