/** Kernels of a backend's own, for what takes many passes over memory as single tfjs ops. Whoever asks has the same in tfjs ops, for backends without. */
import * as tf from "./tfjs.ts";

/**
 * Runs the kernel on the current backend.
 * @returns its outputs, or null where the backend has no such kernel
 */
export function ownKernel(name: string, inputs: Readonly<Record<string, tf.Tensor>>, attributes: Readonly<Record<string, number | string | boolean>> = {}): tf.Tensor[] | null {
  if (tf.getKernel(name, tf.getBackend()) === undefined) return null;
  const made: tf.Tensor | tf.Tensor[] = tf.engine().runKernel(name, { ...inputs }, { ...attributes });
  return Array.isArray(made) ? made : [made];
}
