/** Parameters as one vector, which is how the optimiser sees them. */
import * as tf from "../models/tfjs.ts";

export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  values: Float32Array;
}

/**
 * All parameters end to end in one vector: the optimiser is then a dozen operators on one array, where an adapter of 30 layers would need ten thousand on
 * small ones. Those that weight decay is for (matrices) come first.
 */
export class FlatParameters {
  readonly #ordered: readonly Parameter[];
  readonly sizes: readonly number[];
  readonly total: number;
  /** How many elements weight decay is for. */
  readonly decayed: number;
  values: Float32Array;

  constructor(parameters: readonly Parameter[]) {
    this.#ordered = [...parameters.filter(({ shape }) => shape.length > 1), ...parameters.filter(({ shape }) => shape.length <= 1)];
    this.sizes = this.#ordered.map(({ values }) => values.length);
    this.total = this.sizes.reduce((sum, size) => sum + size, 0);
    this.decayed = this.#ordered.filter(({ shape }) => shape.length > 1).reduce((sum, { values }) => sum + values.length, 0);
    this.values = new Float32Array(this.total);
  }

  /** What the parameters hold now; somebody may have given them other arrays. */
  gather(): Float32Array {
    this.#each((parameter, from) => {
      if (parameter.values.buffer !== this.values.buffer || parameter.values.byteOffset !== this.values.byteOffset + 4 * from) this.values.set(parameter.values, from);
    });
    return this.values;
  }

  /** The parameters become views of the new vector. */
  scatter(values: Float32Array): void {
    this.values = values;
    this.#each((parameter, from) => {
      parameter.values = values.subarray(from, from + parameter.values.length);
    });
  }

  /** The vector's parts in the shapes and the order of the parameters. */
  unflatten(flat: tf.Tensor, parameters: readonly Parameter[]): tf.Tensor[] {
    const parts = this.sizes.length === 1 ? [flat] : tf.split(flat, [...this.sizes]);
    return parameters.map((parameter) => {
      const part = parts[this.#ordered.indexOf(parameter)];
      if (part === undefined) throw new RangeError(`${parameter.name} is not part of the vector`);
      return tf.reshape(part, [...parameter.shape]);
    });
  }

  flatten(tensors: readonly tf.Tensor[], parameters: readonly Parameter[]): tf.Tensor {
    const ordered = this.#ordered.map((parameter) => tensors[parameters.indexOf(parameter)]);
    return tf.concat(ordered.map((tensor) => (tensor === undefined ? tf.zeros([0]) : tf.reshape(tensor, [-1]))));
  }

  #each(visit: (parameter: Parameter, from: number) => void): void {
    let from = 0;
    for (const parameter of this.#ordered) {
      visit(parameter, from);
      from += parameter.values.length;
    }
  }
}
