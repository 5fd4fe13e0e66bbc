/**
 * Kernels that no tfjs op has: ONNX Runtime's own operators for what takes many passes over memory otherwise. shared/models asks for them by these names
 * (ownKernel) and has the same in tfjs ops for other backends.
 */
import { absent, int64s, node, output, reshape, type Attribute } from "../graph.ts";
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
  /**
   * Attention of T tokens a row to a cache, and to each other as far as they stand before: queries and keys are turned, and keys and values written into the
   * cache behind what is there, in place where the graph's run hands over one array as input and output.
   * qkv [B·T, (H + 2K)·S], keys and values [B, K, C, S]; lasts int32 [B]: the position of each row's last token; most int32 [1]: the largest of them and
   * one; cos and sin [P, S' / 2] of the positions 0 … P − 1 → [B·T, H·S], keys, values. `window` and `cap`: 0 for none. Of the operator: several rows
   * with T > 1 have to begin at position 0; rows may end before the T-th token, and what is written behind their last one is anything.
   */
  CachedAttention: (inputs, { heads, keyValueHeads, scale, window, cap }) => {
    const [qkv, keys, values] = [input(inputs, "qkv"), input(inputs, "keys"), input(inputs, "values")];
    const [all = 1, width = 1] = qkv.shape;
    const [rows = 1] = keys.shape;
    const length = all / rows;
    const mixed = (width * Number(heads)) / (Number(heads) + 2 * Number(keyValueHeads));
    const attributes: Record<string, Attribute> = { num_heads: { int: Number(heads) }, kv_num_heads: { int: Number(keyValueHeads) }, scale: { float: Number(scale) }, do_rotary: { int: 1 }, ...(window === 0 ? {} : { local_window_size: { int: Number(window) } }), ...(cap === 0 ? {} : { softcap: { float: Number(cap) } }) };
    const outputs = [{ shape: [rows, length, mixed], dtype: "float32" }, { shape: keys.shape, dtype: "float32" }, { shape: values.shape, dtype: "float32" }] as const;
    const made = node("GroupQueryAttention", [reshape(qkv, [rows, length, width]), absent, absent, keys, values, input(inputs, "lasts"), input(inputs, "most"), input(inputs, "cos"), input(inputs, "sin")], [rows, length, mixed], "float32", { domain: "com.microsoft", outputs, attributes });
    return [reshape(output(made, 0), [all, mixed]), output(made, 1), output(made, 2)];
  },
};
