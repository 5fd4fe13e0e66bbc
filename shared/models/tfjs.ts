/** TensorFlow.js with its gradients: tfjs-core's own Node bundle leaves them out, the union package registers them. */
import "@tensorflow/tfjs";

export * from "@tensorflow/tfjs-core";
