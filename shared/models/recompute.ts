/**
 * Loss and gradients of an adapter, in one of two ways. Plain: everything that the forward pass computed is kept for the backward pass. Recomputed
 * (gradient checkpointing, Chen et al. 2016): only what goes into each block is kept, and the block runs again when its gradients are due. It costs
 * about a third more time; of a 30-layer model's activations an eighth is left.
 *
 * What runs the graph merges equal computations and may delay what nothing waits for. Two barriers keep it from undoing the saving: a block runs again on
 * an input that depends on the gradient which arrives (so it is neither the first run nor possible before), and the gradient that leaves it depends on
 * those of its adapter (so that these don't wait until the end, with all that they need). Both add min(|g|, 0), which is 0.
 */
import type { ModelConfig } from "./config.ts";
import "./gradients.ts";
import type { Lora, Weights } from "./linear.ts";
import * as tf from "./tfjs.ts";
import { attendingTo, block, embed, finalNorm, hiddenStates, packedView } from "./transformer.ts";

/** Packed rows, see `hiddenStates`: all int32 [B, T]. */
export interface PackedRows {
  readonly tokens: tf.Tensor;
  readonly positions: tf.Tensor;
  readonly segments: tf.Tensor;
}

export interface Task {
  readonly rows: PackedRows;
  readonly config: ModelConfig;
  /** The tensors to differentiate by. */
  readonly trained: readonly tf.Tensor[];
  /** The model with these in their places. */
  readonly assemble: (trained: readonly tf.Tensor[]) => { weights: Weights; lora: Lora | null };
  /** @param hidden normed, [B·T, D] */
  readonly loss: (hidden: tf.Tensor2D, weights: Weights) => tf.Scalar;
}

export interface LossAndGradients {
  readonly value: tf.Scalar;
  /** In the order of `trained`. */
  readonly grads: readonly tf.Tensor[];
}

export function plainGradients({ rows, config, trained, assemble, loss }: Task): LossAndGradients {
  return tf.valueAndGrads((...tensors: tf.Tensor[]): tf.Scalar => {
    const model = assemble(tensors);
    return loss(hiddenStates(rows.tokens, rows.positions, rows.segments, model.weights, model.lora, config), model.weights);
  })([...trained]);
}

/** @param layers of each of the trained tensors @throws RangeError when one belongs to no block: what lies outside of them can't be trained this way */
export function recomputedGradients({ rows, config, trained, assemble, loss }: Task, layers: readonly number[]): LossAndGradients {
  if (layers.length !== trained.length || layers.some((layer) => !Number.isInteger(layer) || layer < 0 || layer >= config.layers)) throw new RangeError("a tensor outside of the blocks can't be trained with recomputation");
  const { weights, lora } = assemble(trained);
  const attention = attendingTo(packedView(rows.positions, rows.segments), config);
  const run = (layer: number, x: tf.Tensor2D, own: readonly tf.Tensor[], late: tf.Tensor | null): tf.Tensor2D => {
    const rest = own.values();
    const model = assemble(trained.map((tensor, at) => (layers[at] === layer ? (rest.next().value ?? tensor) : tensor)));
    return block(x, layer, attention, model.weights, late === null ? model.lora : lateDropout(model.lora, late), config).x;
  };
  const ownOf = (layer: number) => trained.filter((_, at) => layers[at] === layer);

  const inputs: tf.Tensor2D[] = [];
  let x = embed(rows.tokens, weights, config);
  for (let layer = 0; layer < config.layers; layer++) {
    inputs.push(x);
    x = run(layer, x, ownOf(layer), null);
  }
  const head = tf.valueAndGrad((last: tf.Tensor) => loss(finalNorm(last as tf.Tensor2D, weights, config), weights))(x);

  let dy: tf.Tensor = head.grad;
  const byLayer = new Map<number, readonly tf.Tensor[]>();
  for (const [layer, input] of [...inputs.entries()].reverse()) {
    const late = nothing(dy);
    const [dx, ...gradients] = tf.grads((again: tf.Tensor, ...own: tf.Tensor[]) => run(layer, again as tf.Tensor2D, own, lora?.dropout === undefined ? null : late))([tf.add(input, late), ...ownOf(layer)], dy);
    if (dx === undefined) throw new RangeError(`block ${layer} has no gradient`);
    byLayer.set(layer, gradients);
    dy = gradients.length === 0 ? dx : tf.add(dx, tf.addN(gradients.map(nothing)));
  }
  const taken = new Map([...byLayer].map(([layer, gradients]) => [layer, gradients.values()]));
  const grads = layers.map((layer) => taken.get(layer)?.next().value);
  return { value: head.value, grads: grads.filter((gradient) => gradient !== undefined) };
}

/** 0, but only known when x is. [1] */
function nothing(x: tf.Tensor): tf.Tensor {
  return tf.minimum(tf.abs(tf.slice(tf.reshape(x, [-1]), [0], [1])), 0);
}

/** The masks, too, are made again instead of kept. */
function lateDropout(lora: Lora | null, late: tf.Tensor): Lora | null {
  if (lora?.dropout === undefined) return lora;
  return { ...lora, dropout: { ...lora.dropout, keys: tf.add(lora.dropout.keys, tf.cast(late, "int32")) } };
}
