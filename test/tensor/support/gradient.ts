/** A call and its gradients as one call: of a weighted sum of its results, so that no element's share is lost among the others. */
import "../../../shared/models/gradients.ts";
import * as tf from "../../../shared/models/tfjs.ts";
import type { Call, Spec } from "./both.ts";

const shares = [0.5, -1, 2, 0.25, -0.75, 1.5, -0.1];

/** @returns value, then the gradient of each float input */
export function withGradients(call: Call, inputs: readonly Spec[]): Call {
  return (...tensors) => {
    const free = tensors.filter((_, at) => inputs[at]?.dtype === "float32");
    const { value, grads } = tf.valueAndGrads((...given: tf.Tensor[]): tf.Scalar => {
      const left = [...given];
      return weightedSum(call(...tensors.map((tensor, at) => (inputs[at]?.dtype === "float32" ? (left.shift() ?? tensor) : tensor))));
    })(free);
    return [value, ...grads];
  };
}

function weightedSum(made: tf.Tensor | tf.Tensor[]): tf.Scalar {
  const list = Array.isArray(made) ? made : [made];
  const sums = list.map((result): tf.Scalar => tf.sum(tf.mul(result, tf.tensor(Float32Array.from({ length: result.size }, (_, at) => shares[at % shares.length] ?? 1), result.shape))));
  return sums.reduce((total, sum) => tf.add(total, sum), tf.scalar(0));
}
