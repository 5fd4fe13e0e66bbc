/**
 * Cross-entropy of the head's predictions, without ever holding all logits: they are made for a few rows at a time. What the gradient needs of them
 * is linear in the loss's own gradient, so it is worked out in the same pass: d loss / d hidden = softmax(logits) · W − W[target].
 * Not responsible for which positions carry loss.
 */
import * as tf from "./tfjs.ts";

/** Rows whose logits exist at a time: large enough for the product to run at full speed, small enough for 128 k words in float32 (64 MiB). */
export const chunkRows = 128;

export interface HeadOptions {
  /** Gemma: logits are `cap · tanh(raw / cap)`; null = as they are. */
  readonly softcap: number | null;
  /** x [C, D] → raw logits [C, V], where there is something faster than x · headᵀ. What the gradient goes through is the head itself. */
  readonly product?: (this: void, x: tf.Tensor2D) => tf.Tensor2D;
}

/**
 * −log p(target) of each row.
 * @param hidden [N, D]; @param head [V, D]; @param targets int32 [N]
 * @returns [N], nats
 */
export function headLoss(hidden: tf.Tensor2D, head: tf.Tensor2D, targets: tf.Tensor1D, { softcap, product }: HeadOptions = { softcap: null }): tf.Tensor1D {
  const rawLogits = (x: tf.Tensor2D, w: tf.Tensor2D): tf.Tensor2D => (product === undefined ? tf.matMul(x, w, false, true) : product(x));
  const compute = tf.customGrad((...given) => {
    const [x, w] = given as unknown as [tf.Tensor2D, tf.Tensor2D];
    const save = given.at(-1) as unknown as tf.GradSaveFunc;
    const rows = x.shape[0];
    const [losses, slopes]: [tf.Tensor[], tf.Tensor[]] = [[], []];
    for (let from = 0; from < rows; from += chunkRows) {
      const size = Math.min(chunkRows, rows - from);
      const part = chunkLoss(tf.slice(x, [from, 0], [size, -1]), w, tf.slice(targets, [from], [size]), softcap, rawLogits);
      losses.push(part.losses);
      slopes.push(part.slope);
    }
    save([x, w, joined(slopes), targets]);
    return {
      value: joined(losses),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [savedX, savedW, slope, savedTargets] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor1D];
        // The head's own gradient is for pre-training; where the head is frozen nobody asks for it, and it never becomes part of a compiled graph.
        return [tf.mul(slope, tf.expandDims(dy, 1)), headGradient(savedX, savedW, savedTargets, dy, softcap)];
      },
    };
  });
  return compute(hidden, head) as tf.Tensor1D;
}

type RawLogits = (x: tf.Tensor2D, w: tf.Tensor2D) => tf.Tensor2D;

/** The least normal float32: what is even less likely costs no more than −log of it, 87 nats. */
const leastShare = 2 ** -126;

interface ChunkLoss {
  /** [C] */
  readonly losses: tf.Tensor;
  /** d loss / d hidden, [C, D] */
  readonly slope: tf.Tensor;
}

function chunkLoss(x: tf.Tensor2D, w: tf.Tensor2D, targets: tf.Tensor1D, softcap: number | null, rawLogits: RawLogits): ChunkLoss {
  const { logits, bend } = cappedLogits(rawLogits(x, w), softcap);
  const shares = tf.softmax(logits);
  const [rows, vocabulary] = logits.shape;
  const places: tf.Tensor1D = tf.add(tf.mul(tf.range(0, rows, 1, "int32"), tf.scalar(vocabulary, "int32")), targets);
  const atTarget = (of: tf.Tensor2D): tf.Tensor1D => tf.gather(tf.reshape(of, [-1]), places);
  const wanted = tf.gather(w, targets);
  const pulled = bend === null ? wanted : tf.mul(wanted, tf.expandDims(atTarget(bend), 1));
  return { losses: tf.neg(tf.log(tf.maximum(atTarget(shares), leastShare))), slope: tf.sub(tf.matMul(bend === null ? shares : tf.mul(shares, bend), w), pulled) };
}

/** Logits, and how much of a change of the raw ones they follow (null: all of it). */
function cappedLogits(raw: tf.Tensor2D, softcap: number | null): { logits: tf.Tensor2D; bend: tf.Tensor2D | null } {
  if (softcap === null) return { logits: raw, bend: null };
  const tanh: tf.Tensor2D = tf.tanh(tf.div(raw, softcap));
  return { logits: tf.mul(tanh, softcap), bend: tf.sub(1, tf.square(tanh)) };
}

/** d loss / d head, [V, D]: (softmax − one-hot)ᵀ · (dy ⊙ hidden), chunk by chunk. */
function headGradient(x: tf.Tensor2D, w: tf.Tensor2D, targets: tf.Tensor1D, dy: tf.Tensor, softcap: number | null): tf.Tensor {
  const rows = x.shape[0];
  const vocabulary = w.shape[0];
  const parts: tf.Tensor[] = [];
  for (let from = 0; from < rows; from += chunkRows) {
    const size = Math.min(chunkRows, rows - from);
    const part: tf.Tensor2D = tf.slice(x, [from, 0], [size, -1]);
    const { logits, bend } = cappedLogits(tf.matMul(part, w, false, true), softcap);
    const wrong = tf.sub(tf.softmax(logits), tf.oneHot(tf.slice(targets, [from], [size]), vocabulary, 1, 0, "float32"));
    const weighed = tf.mul(part, tf.expandDims(tf.slice(dy, [from], [size]), 1));
    parts.push(tf.matMul(bend === null ? wrong : tf.mul(wrong, bend), weighed, true, false));
  }
  return tf.addN(parts);
}

const joined = (parts: readonly tf.Tensor[]): tf.Tensor => (parts.length === 1 && parts[0] !== undefined ? parts[0] : tf.concat([...parts], 0));
