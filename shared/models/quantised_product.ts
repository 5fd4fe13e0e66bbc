/** x · Wᵀ by a weight in 8 or 4 bits (quantise.ts has the layouts), forwards and backwards: W itself is never put together. */
import { ownKernel } from "./kernel.ts";
import * as tf from "./tfjs.ts";

type Weights = Readonly<Record<string, tf.Tensor>>;

/**
 * x [N, in] → [N, out]
 * @returns null where the weight `name` is not quantised
 * @throws Error on a backend without integer products
 */
export function quantisedProduct(x: tf.Tensor2D, name: string, weights: Weights): tf.Tensor2D | null {
  const directions = byRows(name, weights) ?? byServingRows(name, weights) ?? byBlocks(name, weights);
  if (directions === null) return null;
  const compute = tf.customGrad((...given) => {
    const [input] = given as unknown as [tf.Tensor];
    return { value: directions.forwards(input), gradFunc: (dy: tf.Tensor) => [directions.backwards(dy)] };
  });
  return compute(x) as tf.Tensor2D;
}

interface Directions {
  /** [N, in] → [N, out] */
  forwards(this: void, x: tf.Tensor): tf.Tensor;
  /** [N, out] → [N, in] */
  backwards(this: void, dy: tf.Tensor): tf.Tensor;
}

function byRows(name: string, weights: Weights): Directions | null {
  const [values, transposed, scale] = [weights[`${name}.q8`], weights[`${name}.q8t`], weights[`${name}.q8s`]];
  if (values === undefined || scale === undefined) return null;
  return {
    forwards: (x) => needed("IntegerMatMul", { x, w: values, scale }),
    // The outputs' scales go into dy: so both directions use the same integers.
    backwards: (dy) => {
      if (transposed === undefined) throw new Error(`${name} was quantised for the forward pass only`);
      return needed("IntegerMatMul", { x: tf.mul(dy, scale), w: transposed });
    },
  };
}

function byServingRows(name: string, weights: Weights): Directions | null {
  const [w, scale] = [weights[`${name}.r8`], weights[`${name}.r8s`]];
  return w === undefined || scale === undefined ? null : { forwards: (x) => needed("IntegerMatMul", { x, w, scale }, { free: true }), backwards: servesOnly(name) };
}

function byBlocks(name: string, weights: Weights): Directions | null {
  // Gradients would suffer from the rounding of activations, and many rows gain nothing by it; a single row is three times as fast.
  const trains = `${name}.n4t` in weights;
  const part = (suffix: string) => {
    const [w, scale] = [weights[`${name}.n4${suffix}`], weights[`${name}.n4${suffix}s`]];
    return w === undefined || scale === undefined ? null : (x: tf.Tensor) => needed("BlockwiseMatMul", { x, w, scale }, { bits: 4, exact: trains });
  };
  const forwards = part("");
  return forwards === null ? null : { forwards, backwards: part("t") ?? servesOnly(name) };
}

const servesOnly = (name: string) => (): never => {
  throw new Error(`${name} was quantised for serving: it has no gradient`);
};

function needed(kernel: string, inputs: Readonly<Record<string, tf.Tensor>>, attributes: Readonly<Record<string, number | boolean>> = {}): tf.Tensor {
  const [made] = ownKernel(kernel, inputs, attributes) ?? [];
  if (made === undefined) throw new Error(`the backend ${tf.getBackend()} has no ${kernel}: quantised weights need the backend onnx`);
  return made;
}
