/** What a row of a kernel table is: nodes and tfjs attributes in, nodes out. */
import { backend_util, util, type DataType } from "@tensorflow/tfjs-core";
import { node, type DType, type Node, type Shape } from "../graph.ts";

/** tfjs passes inputs by name; a rule asks for them with `input`. */
export type Inputs = Readonly<Record<string, Node | undefined>>;
/**
 * tfjs's attributes come untyped through its registry; each rule states what it reads.
 * `strict` is set for lazy graphs, whose programs may count on every detail of tfjs (a maximum over NaN is NaN); compiled functions don't pay for them.
 */
export type Rule = (inputs: Inputs, attributes: Record<string, unknown>, strict: boolean) => Node | readonly Node[];
export type Rules = Readonly<Record<string, Rule>>;

/** What a rule says to a call that it has no ONNX for: a lazy one is then handed to tfjs's CPU kernel, a compiled one fails with this. */
export class NotRecorded extends TypeError {}

export function input(inputs: Inputs, name: string): Node {
  const found = inputs[name];
  if (found === undefined) throw new TypeError(`the kernel was called without its input ${name}`);
  return found;
}

/** tfjs's `axis` attribute (number, list, or nothing = all) as sorted, non-negative axes. */
export function axesOf(axis: unknown, shape: Shape): number[] {
  return util.parseAxisParam(axis as number | number[], [...shape]).sort((a, b) => a - b);
}

export function broadcastShape(a: Shape, b: Shape): number[] {
  return backend_util.assertAndGetBroadcastShape([...a], [...b]);
}

/** One operator on one input, of the same shape. */
export function unary(op: string, x: Node, dtype: DType = x.dtype): Node {
  return node(op, [x], x.shape, dtype);
}

export function toDType(dtype: DataType): DType {
  if (dtype === "float32" || dtype === "int32" || dtype === "bool") return dtype;
  throw new NotRecorded(`dtype ${dtype} is not recorded by this backend`);
}
