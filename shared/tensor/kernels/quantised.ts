/** Products by weights in 8 and 4 bits, with ONNX Runtime's integer operators. shared/models/quantise.ts has the layouts. */
import { int64s, leaf, node, reshape, scalar, type Node } from "../graph.ts";
import { input, unary, type Rules } from "./rule.ts";

/** Activations become 0 .. 254 around it: one byte without a sign is what the processors multiply by signed ones. */
const middle = 127;

/** One byte for each row, or one. */
const bytes = (count: number | null, value: number): Node => leaf({ kind: "data", values: new Uint8Array(count ?? 1).fill(value) }, count === null ? [] : [count], "uint8");

export const quantised: Rules = {
  /**
   * x float32 [N, in] · w int8 [in, out] → float32 [N, out], times `scale` [out] where there is one. Each row of x is rounded to 8 bits by its own
   * largest number: gradients of different tokens differ by orders of magnitude, and no row may depend on what else is in its batch.
   * `free`: N may be a free size, so that no constant has N numbers.
   */
  IntegerMatMul: (inputs, { free }) => {
    const [x, w] = [input(inputs, "x"), input(inputs, "w")];
    const scale = inputs["scale"] ?? scalar(1, "float32");
    const [rows = 0, inner] = x.shape;
    const [weightInner, columns = 0] = w.shape;
    if (x.shape.length !== 2 || inner !== weightInner) throw new RangeError(`integer product of [${x.shape.join(",")}] and [${w.shape.join(",")}]: the inner sides differ`);
    const extreme = (of: "ReduceMax" | "ReduceMin", given = x) => node(of, [given, int64s([1])], [rows, 1], "float32", { attributes: { keepdims: { int: 1 } } });
    const multiplied = (small: Node, step: Node) => node("MatMulIntegerToFloat", [small, w, step, scale, bytes(null, middle)], [rows, columns], "float32", { domain: "com.microsoft" });
    const level = scalar(1 / middle, "float32");
    if (free === true) {
      // As few operators as there can be: of a few rows each costs more than what it computes. A row of zeros becomes any numbers, times zero.
      const most = extreme("ReduceMax", unary("Abs", x));
      const small = node("QuantizeLinear", [node("Div", [x, most], x.shape, "float32"), level, bytes(null, middle)], x.shape, "uint8");
      return node("Mul", [multiplied(small, level), most], [rows, columns], "float32");
    }
    // Largest and least are read off without writing anything: |x| would be one more array as large as x.
    const most = node("Max", [extreme("ReduceMax"), unary("Neg", extreme("ReduceMin"))], [rows, 1], "float32");
    // A row of zeros must not be divided by zero; it stays zero.
    const step = node("Max", [node("Mul", [most, level], [rows, 1], "float32"), scalar(1e-30, "float32")], [rows, 1], "float32");
    const small = node("QuantizeLinear", [x, reshape(step, [rows]), bytes(rows, middle)], x.shape, "uint8", { attributes: { axis: { int: 0 } } });
    return node("Mul", [multiplied(small, scalar(1, "float32")), step], [rows, columns], "float32");
  },
  /** x float32 [.., in] by blocks of `bits`: w uint8 [out, blocks, bytes], scale [out, blocks] → [.., out]. `exact`: x is not rounded to 8 bits. */
  BlockwiseMatMul: (inputs, { bits, exact }) => {
    const [x, w, scale] = [input(inputs, "x"), input(inputs, "w"), input(inputs, "scale")];
    const [inner = 0, outer = 0] = [x.shape.at(-1), w.shape[0]];
    const [, , width = 0] = w.shape;
    return node("MatMulNBits", [x, w, scale], [...x.shape.slice(0, -1), outer], "float32", {
      domain: "com.microsoft",
      attributes: { K: { int: inner }, N: { int: outer }, bits: { int: Number(bits) }, block_size: { int: (width * 8) / Number(bits) }, accuracy_level: { int: exact === true ? 0 : 4 } },
    });
  },
};
