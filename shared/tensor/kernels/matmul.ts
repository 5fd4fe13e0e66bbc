/** Matrix products. Transposes go into ONNX Runtime's FusedMatMul, which reads either layout without copying. */
import { binary, node, transpose, type Node } from "../graph.ts";
import { activate } from "./activation.ts";
import { broadcastShape, input, type Rules } from "./rule.ts";

/** a · b over the last two axes; the axes before them broadcast. */
function matmul(a: Node, b: Node, transposeA: boolean, transposeB: boolean): Node {
  const [rows, innerA] = transposeA ? [a.shape.at(-1), a.shape.at(-2)] : [a.shape.at(-2), a.shape.at(-1)];
  const [innerB, columns] = transposeB ? [b.shape.at(-1), b.shape.at(-2)] : [b.shape.at(-2), b.shape.at(-1)];
  if (innerA !== innerB) throw new RangeError(`matrix product of [${a.shape.join(",")}] and [${b.shape.join(",")}]: the inner sides ${innerA} and ${innerB} differ`);
  const shape = [...broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2)), rows ?? 1, columns ?? 1];
  if (!transposeA && !transposeB) return node("MatMul", [a, b], shape, a.dtype);
  if (a.dtype !== "float32") return node("MatMul", [transposeA ? swapLast(a) : a, transposeB ? swapLast(b) : b], shape, a.dtype);
  return node("FusedMatMul", [a, b], shape, a.dtype, { domain: "com.microsoft", attributes: { transA: { int: Number(transposeA) }, transB: { int: Number(transposeB) } } });
}

function swapLast(value: Node): Node {
  const rank = value.shape.length;
  return transpose(value, value.shape.map((_, axis) => (axis === rank - 1 ? rank - 2 : axis === rank - 2 ? rank - 1 : axis)));
}

export const products: Rules = {
  BatchMatMul: (inputs, { transposeA, transposeB }) => matmul(input(inputs, "a"), input(inputs, "b"), transposeA === true, transposeB === true),
  _FusedMatMul: (inputs, attributes) => {
    const product = matmul(input(inputs, "a"), input(inputs, "b"), attributes["transposeA"] === true, attributes["transposeB"] === true);
    const { bias } = inputs;
    return activate(bias === undefined ? product : binary("Add", product, bias, product.shape, product.dtype), inputs, attributes);
  },
};
