/** What tfjs's fused kernels do to their sum. */
import { binary, node, scalar, type Node } from "../graph.ts";
import { NotRecorded, broadcastShape, input, unary, type Inputs } from "./rule.ts";

/** @param inputs of the fused kernel: preluActivationWeights is one of them; @param attributes activation, leakyreluAlpha */
export function activate(sum: Node, inputs: Inputs, { activation, leakyreluAlpha }: Record<string, unknown>): Node {
  switch (activation ?? "linear") {
    case "linear":
      return sum;
    case "relu":
      return unary("Relu", sum);
    case "sigmoid":
      return unary("Sigmoid", sum);
    case "elu":
      return unary("Elu", sum);
    case "relu6":
      return node("Clip", [sum, scalar(0, sum.dtype), scalar(6, sum.dtype)], sum.shape, sum.dtype);
    case "leakyrelu":
      return node("LeakyRelu", [sum], sum.shape, "float32", { attributes: { alpha: { float: Number(leakyreluAlpha ?? 0.2) } } });
    case "prelu": {
      const alpha = input(inputs, "preluActivationWeights");
      const scaled = binary("Mul", sum, alpha, broadcastShape(sum.shape, alpha.shape), "float32");
      return node("Where", [binary("GreaterOrEqual", sum, scalar(0, "float32"), sum.shape, "bool"), sum, scaled], scaled.shape, "float32");
    }
    default:
      throw new NotRecorded(`a fused kernel with activation ${JSON.stringify(activation)} is not recorded by this backend`);
  }
}
