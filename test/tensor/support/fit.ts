/** Small tfjs layers models and data, the same on every backend. */
import * as tf from "@tensorflow/tfjs";

const seeded = (seed: number) => tf.initializers.glorotUniform({ seed });

export interface Fitted {
  readonly losses: readonly number[];
  readonly accuracies: readonly number[];
}

export interface FitCase {
  readonly shape: readonly number[];
  readonly model: () => tf.LayersModel;
}

const classes = 4;
const head = () => tf.layers.dense({ units: classes, activation: "softmax", kernelInitializer: seeded(2) });

function sequential(layers: readonly tf.layers.Layer[], optimizer: tf.Optimizer): tf.LayersModel {
  const model = tf.sequential({ layers: [...layers] });
  model.compile({ optimizer, loss: "categoricalCrossentropy", metrics: ["accuracy"] });
  return model;
}

export const fitCases: Readonly<Record<string, FitCase>> = {
  "dense, gradient descent": {
    shape: [20],
    model: () => sequential([tf.layers.dense({ units: 32, activation: "relu", inputShape: [20], kernelInitializer: seeded(1) }), head()], tf.train.sgd(0.1)),
  },
  "dense, Adam": {
    shape: [20],
    model: () => sequential([tf.layers.dense({ units: 32, activation: "tanh", inputShape: [20], kernelInitializer: seeded(1) }), tf.layers.dropout({ rate: 0.25, seed: 5 }), head()], tf.train.adam(0.01)),
  },
  "convolutions, batch normalisation, pooling, Adam": {
    shape: [12, 12, 2],
    model: () =>
      sequential(
        [
          tf.layers.conv2d({ filters: 6, kernelSize: 3, strides: 2, padding: "same", activation: "relu", inputShape: [12, 12, 2], kernelInitializer: seeded(1) }),
          tf.layers.batchNormalization(),
          tf.layers.conv2d({ filters: 8, kernelSize: 3, kernelInitializer: seeded(3) }),
          tf.layers.maxPooling2d({ poolSize: 2 }),
          tf.layers.flatten(),
          head(),
        ],
        tf.train.adam(0.01),
      ),
  },
};

/** @param onBatch called after each batch */
export async function fit({ shape, model }: FitCase, onBatch: (epoch: number, batch: number) => void = () => undefined): Promise<Fitted> {
  const rows = 70;
  const size = rows * shape.reduce((product, side) => product * side, 1);
  // 56 rows are trained on: three batches of 16 and one of 8.
  const values = Float32Array.from({ length: size }, (_, at) => (Math.sin(at * 12.9898) * 43_758.5453) % 1);
  const [x, y] = [tf.tensor(values, [rows, ...shape]), tf.oneHot(tf.tensor1d(Array.from({ length: rows }, (_, at) => at % classes), "int32"), classes)];
  const made = model();
  let epoch = 0;
  const { history } = await made.fit(x, y, {
    epochs: 4,
    batchSize: 16,
    shuffle: false,
    validationSplit: 0.2,
    verbose: 0,
    callbacks: {
      onEpochBegin: (at) => void (epoch = at),
      onBatchEnd: (at) => onBatch(epoch, at),
    },
  });
  tf.dispose([x, y]);
  made.dispose();
  const numbers = (name: string) => (history[name] ?? []).map(Number);
  return { losses: [...numbers("loss"), ...numbers("val_loss")], accuracies: [...numbers("acc"), ...numbers("val_acc")] };
}
