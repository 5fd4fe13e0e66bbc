/** Cross-entropy on the tokens that carry loss. */
import * as tf from "./tfjs.ts";

/**
 * −log p(target) of each row. The gradient is written out (softmax − one-hot): tfjs's own would keep three arrays of the logits' size.
 * @param logits [N, V]; @param targets int32 [N] @returns [N], nats
 */
export function crossEntropy(logits: tf.Tensor2D, targets: tf.Tensor1D): tf.Tensor1D {
  const vocabulary = logits.shape[1];
  const compute = tf.customGrad((x, save) => {
    const scores = x as tf.Tensor2D;
    const saver = save as tf.GradSaveFunc;
    const top = tf.max(scores, -1, true);
    const normaliser = tf.add(tf.log(tf.sum(tf.exp(tf.sub(scores, top)), -1, true)), top);
    const hot = tf.oneHot(targets, vocabulary, 1, 0, "float32");
    const picked = tf.sum(tf.mul(scores, hot), -1, true);
    saver([scores, normaliser, hot]);
    return {
      value: tf.reshape(tf.sub(normaliser, picked), [-1]),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [savedScores, savedNormaliser, savedHot] = saved;
        if (savedScores === undefined || savedNormaliser === undefined || savedHot === undefined) throw new Error("tfjs lost what was saved for the gradient");
        return tf.mul(tf.sub(tf.exp(tf.sub(savedScores, savedNormaliser)), savedHot), tf.expandDims(dy, 1));
      },
    };
  });
  return compute(logits) as tf.Tensor1D;
}
