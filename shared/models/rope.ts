/** Rotary position embedding (Su et al. 2021), in the layout that rotates the two halves of what turns against each other. */
import { frequenciesOf, type Rope } from "./rope_config.ts";
import { ownKernel } from "./kernel.ts";
import * as tf from "./tfjs.ts";

export interface Rotation {
  /** [B, 1, T, S'], broadcast over heads; S' is how much of a head turns. */
  readonly cos: tf.Tensor;
  readonly sin: tf.Tensor;
}

/** @param positions int32 [B, T] → cos and sin [B, 1, T, S'] */
export function rotation(positions: tf.Tensor, rope: Rope): Rotation {
  const at = tf.expandDims(tf.expandDims(tf.cast(positions, "float32"), 1), -1);
  const angles = tf.mul(at, tf.tensor1d(frequenciesOf(rope)));
  const both = tf.concat([angles, angles], -1);
  const { magnitude } = rope;
  const scaled = (x: tf.Tensor) => (magnitude === 1 ? x : tf.mul(x, magnitude));
  return { cos: scaled(tf.cos(both)), sin: scaled(tf.sin(both)) };
}

/** Cosines and sines of the positions 0 … P − 1 as arrays [P, S' / 2], for who looks angles up (kernels/fused.ts, CachedAttention). As `rotation` has them: angles are rounded. */
export function rotationTables(rope: Rope, positions: number): { readonly cos: Float32Array; readonly sin: Float32Array } {
  const frequencies = frequenciesOf(rope);
  const half = frequencies.length;
  const of = (turn: (angle: number) => number) => Float32Array.from({ length: positions * half }, (_, at) => rope.magnitude * turn(Math.fround(Math.floor(at / half) * (frequencies[at % half] ?? 0))));
  return { cos: of(Math.cos), sin: of(Math.sin) };
}

/** x [B, heads, T, S] turned by its positions */
export function rotate(x: tf.Tensor4D, { cos, sin }: Rotation): tf.Tensor4D {
  const [size, turning] = [x.shape[3], cos.shape.at(-1) ?? 0];
  if (turning === size) return turn(x, cos, sin);
  const [part, rest]: tf.Tensor4D[] = tf.split(x, [turning, size - turning], -1);
  if (part === undefined || rest === undefined) throw new RangeError("a head could not be split");
  return tf.concat4d([turn(part, cos, sin), rest], -1);
}

/** Linear in x, and its transpose turns backwards: the gradient is the same with −sin. */
function turn(x: tf.Tensor4D, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor4D {
  const compute = tf.customGrad((...given) => {
    const [input, c, s] = given as unknown as [tf.Tensor4D, tf.Tensor, tf.Tensor];
    const save = given.at(-1) as unknown as tf.GradSaveFunc;
    save([c, s]);
    return {
      value: turned(input, c, s),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [savedCos, savedSin] = saved;
        if (savedCos === undefined || savedSin === undefined) throw new Error("tfjs lost what was saved for the gradient");
        // Angles come from positions: nobody differentiates by them.
        return [turned(dy as tf.Tensor4D, savedCos, tf.neg(savedSin)), tf.zerosLike(savedCos), tf.zerosLike(savedSin)];
      },
    };
  });
  return compute(x, cos, sin);
}

function turned(x: tf.Tensor4D, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor4D {
  const [whole] = ownKernel("RotaryEmbedding", { x, cos, sin }) ?? [];
  if (whole !== undefined) return whole as tf.Tensor4D;
  const [first, second] = tf.split(x, 2, -1);
  if (first === undefined || second === undefined) throw new RangeError("a head could not be split");
  return tf.add(tf.mul(x, cos), tf.mul(tf.concat([tf.neg(second), first], -1), sin));
}
