/** TensorFlow.js as models use it. Its gradients are another matter (gradients.ts): a process that only serves needs none. */
export * from "@tensorflow/tfjs-core";
