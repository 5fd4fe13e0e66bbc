/**
 * Attention in which a token sees only what stands before it, with its gradient written out. Queries go block by block over the keys up to the block's
 * end, so that nearly half of the scores, which a mask would forbid anyway, are never computed. The backward pass needs no scores but the shares:
 * d score = share · (dO · V − D) with D the sum of dO · O over a head (Dao et al. 2022, eq. 4); D rides along as one more column of that product.
 * Letters in shapes: B rows, T positions, H heads, K key/value heads, G = H / K, S head size.
 */
import * as tf from "./tfjs.ts";

/** A block of queries and the keys from the beginning to its end. */
interface Span {
  readonly from: number;
  readonly end: number;
}

/** Four blocks leave 62 % of the scores; more would be many small products. */
function spansOf(length: number): Span[] {
  const size = Math.max(128, Math.ceil(length / 4 / 64) * 64);
  return Array.from({ length: Math.ceil(length / size) }, (_, at) => ({ from: at * size, end: Math.min((at + 1) * size, length) }));
}

/**
 * @param q [B, H, T, S]; @param k [B, K, T, S]; @param v [B, K, T, S]
 * @param mask added to the scores, [B or 1, 1, T, T]; it has to forbid what stands behind a token (only some of that is left out by itself)
 * @returns [B, H, T, S]
 */
export function causalAttention(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, mask: tf.Tensor, scale: number): tf.Tensor4D {
  const [rows, heads, length, size] = q.shape;
  const keyValueHeads = k.shape[1];
  const group = heads / keyValueHeads;
  const spans = spansOf(length);
  /** The queries of a span, a group's heads stacked: [B, K, G·b, S]. */
  const queriesOf = (x: tf.Tensor, { from, end }: Span): tf.Tensor4D => tf.reshape(tf.slice(tf.reshape(x, [rows, keyValueHeads, group, length, -1]), [0, 0, 0, from, 0], [-1, -1, -1, end - from, -1]), [rows, keyValueHeads, group * (end - from), -1]);
  /** The inverse of `queriesOf` for all spans: [B, H, T, S]. */
  const whole = (parts: readonly tf.Tensor4D[]): tf.Tensor4D => tf.reshape(joined(parts.map((part, at) => tf.reshape(part, [rows, keyValueHeads, group, lengthOf(spans[at]), size])), 3), [rows, heads, length, size]);
  const until = (x: tf.Tensor4D, end: number): tf.Tensor4D => (end === length ? x : tf.slice(x, [0, 0, 0, 0], [-1, -1, end, -1]));

  const compute = tf.customGrad((...given) => {
    const [query, key, value] = given as unknown as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
    const save = given.at(-1) as unknown as tf.GradSaveFunc;
    // Keys are the fewest: to scale them costs least.
    const scaled: tf.Tensor4D = tf.mul(key, scale);
    const shares = spans.map((span): tf.Tensor4D => {
      const width = span.end - span.from;
      const scores = tf.reshape(product(queriesOf(query, span), until(scaled, span.end), false, true), [rows, heads, width, span.end]);
      const allowed = tf.slice(mask, [0, 0, span.from, 0], [-1, -1, width, span.end]);
      return tf.reshape(tf.softmax(tf.add(scores, allowed)), [rows, keyValueHeads, group * width, span.end]);
    });
    const mixed = whole(shares.map((share, at): tf.Tensor4D => product(share, until(value, spans[at]?.end ?? length))));
    save([query, scaled, value, mixed, ...shares]);
    return {
      value: mixed,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [savedQuery, savedKey, savedValue, savedMixed, ...savedShares] = saved as tf.Tensor4D[];
        if (savedQuery === undefined || savedKey === undefined || savedValue === undefined || savedMixed === undefined) throw new Error("tfjs lost what was saved for the gradient");
        const slope = dy as tf.Tensor4D;
        const behind: tf.Tensor4D = tf.concat([slope, tf.neg(tf.sum(tf.mul(slope, savedMixed), -1, true))], -1);
        const valueAndOne: tf.Tensor4D = tf.concat([savedValue, tf.ones([rows, keyValueHeads, length, 1])], -1);
        const [dQuery, dKey, dValue]: [tf.Tensor4D[], tf.Tensor4D[], tf.Tensor4D[]] = [[], [], []];
        spans.forEach((span, at) => {
          const share = savedShares[at];
          if (share === undefined) throw new Error("attention lost a block's shares");
          const dScores: tf.Tensor4D = tf.mul(share, product(queriesOf(behind, span), until(valueAndOne, span.end), false, true));
          dQuery.push(product(dScores, until(savedKey, span.end)));
          dKey.push(padded(product(dScores, queriesOf(savedQuery, span), true), length));
          dValue.push(padded(product(share, queriesOf(slope, span), true), length));
        });
        return [whole(dQuery), tf.mul(tf.addN(dKey), scale), tf.addN(dValue)];
      },
    };
  });
  return compute(q, k, v);
}

const lengthOf = (span: Span | undefined) => (span === undefined ? 0 : span.end - span.from);
const joined = (parts: readonly tf.Tensor[], axis: number): tf.Tensor => (parts.length === 1 && parts[0] !== undefined ? parts[0] : tf.concat([...parts], axis));
const product = (a: tf.Tensor4D, b: tf.Tensor4D, transposeA = false, transposeB = false): tf.Tensor4D => tf.matMul(a, b, transposeA, transposeB);
const padded = (x: tf.Tensor4D, length: number): tf.Tensor4D => (x.shape[2] === length ? x : tf.pad(x, [[0, 0], [0, 0], [0, length - x.shape[2]], [0, 0]]));
