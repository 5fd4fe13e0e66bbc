/**
 * Kernels that no tfjs op has: ONNX Runtime's own operators for what takes many passes over memory otherwise. shared/models asks for them by these names
 * (ownKernel) and has the same in tfjs ops for other backends.
 */
import { int64s, node, output, reshape } from "../graph.ts";
import { input, type Rules } from "./rule.ts";

export const fused: Rules = {
  /** x [.., D], scale [D] → x · r · scale, and r = 1 / √(mean x² + epsilon) [.., 1]. */
  RmsNorm: (inputs, { epsilon }) => {
    const [x, scale] = [input(inputs, "x"), input(inputs, "scale")];
    const outputs = [{ shape: x.shape, dtype: x.dtype }, { shape: [...x.shape.slice(0, -1), 1], dtype: x.dtype }] as const;
    const made = node("SimplifiedLayerNormalization", [x, scale], x.shape, x.dtype, { outputs, attributes: { axis: { int: -1 }, epsilon: { float: Number(epsilon) }, stash_type: { int: 1 } } });
    return [output(made, 0), output(made, 1)];
  },
  /** x [B, heads, T, S]; cos and sin [B, 1, T, S], whose two halves are equal → x with its halves turned against each other. */
  RotaryEmbedding: (inputs) => {
    const [x, cos, sin] = [input(inputs, "x"), input(inputs, "cos"), input(inputs, "sin")];
    const [rows = 1, , length = 1, size = 1] = x.shape;
    // The operator looks angles up by position: ours are numbered through.
    const table = (angles: typeof cos) => {
      const flat = reshape(angles, [rows * length, size]);
      return node("Slice", [flat, int64s([0]), int64s([size / 2]), int64s([1]), int64s([1])], [rows * length, size / 2], "float32");
    };
    const places = reshape(int64s(Array.from({ length: rows * length }, (_, at) => at)), [rows, length]);
    return node("RotaryEmbedding", [x, places, table(cos), table(sin)], x.shape, x.dtype, { domain: "com.microsoft" });
  },
};
