/**
 * Dropout on what goes into an adapter (Srivastava et al. 2014; PEFT's lora_dropout), in plain tfjs ops and without a random operator: a compiled
 * graph has to give the same masks again for the same step, in another process, too.
 *
 * The mask of element (i, j) of a module's input comes from the 32-bit product key_i · column_j · module of three odd numbers: keys are drawn anew for
 * each batch, columns and modules are constants. Two such products behave as a lattice generator's draws do: each is uniform, and a pair is dependent only
 * where the ratio of its factors is close to a fraction of small numbers, which among random 32-bit factors is rare. It costs one integer product, one
 * comparison and one choice per element.
 */
import { createRandom } from "./random.ts";
import * as tf from "./tfjs.ts";

export interface Dropout {
  /** Share of the elements that are set to zero; what is left is scaled up by 1 / (1 − share). */
  readonly share: number;
  /** int32 [N], one odd number per row of the input: `dropoutKeys`. */
  readonly keys: tf.Tensor;
}

/** One key for each of `rows` positions. The same seed, step and batch give the same keys. @param batch of the step, from 0 */
export function dropoutKeys(rows: number, seed: number, step: number, batch: number): Int32Array {
  const random = createRandom(mixed(mixed(mixed(seed) ^ step) ^ batch));
  return Int32Array.from({ length: rows }, () => odd(random.next()));
}

/** x [N, in] with a share of its elements zero, the rest unscaled (`keptScale`). @param module its name: each has a mask of its own */
export function drop(x: tf.Tensor2D, module: string, { share, keys }: Dropout): tf.Tensor2D {
  const width = x.shape[1];
  const random = createRandom(columnSeed);
  const columns = Int32Array.from({ length: width }, () => odd(random.next()));
  const factor = hashOf(module) | 1;
  const draws = tf.mul(tf.expandDims(keys, 1), tf.tensor2d(columns.map((column) => Math.imul(column, factor)), [1, width], "int32"));
  const least = Math.min(Math.round(share * 2 ** 32) - 2 ** 31, 2 ** 31 - 1);
  const kept = tf.greaterEqual(draws, tf.scalar(least, "int32"));
  // tfjs's own gradient of a choice computes both sides.
  const choose = tf.customGrad((value, save) => {
    (save as tf.GradSaveFunc)([kept]);
    return {
      value: tf.where(kept, value as tf.Tensor, tf.scalar(0)),
      gradFunc: (dy: tf.Tensor, [mask]: tf.Tensor[]) => {
        if (mask === undefined) throw new Error("tfjs lost what was saved for the gradient");
        return tf.where(mask, dy, tf.scalar(0));
      },
    };
  });
  return choose(x) as tf.Tensor2D;
}

/** What makes up for the zeros: the caller multiplies where it is cheapest, behind the adapter. */
export const keptScale = (share: number): number => 1 / (1 - share);

const columnSeed = 0x5eed;
const odd = (uniform: number): number => Math.floor(uniform * 2 ** 32) | 1;

/** FNV-1a, then the finaliser of MurmurHash3: names that differ in one digit give unrelated numbers. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return mixed(hash);
}

function mixed(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
