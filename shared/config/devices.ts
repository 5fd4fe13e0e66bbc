/** What COMPUTE_DEVICE may say. Apart from what uses it, so that nobody loads a runtime to name a device. */
export const computeDevices = ["auto", "cpu", "cuda", "webgpu", "tfjs-node-gpu"] as const;
export type ComputeDevice = (typeof computeDevices)[number];
