/** Every tfjs kernel that is recorded, by its tfjs name. A new kernel is a row in one of the parts. */
import type { Device } from "../runtime.ts";
import { convolutions } from "./convolution.ts";
import { elementwise } from "./elementwise.ts";
import { fused } from "./fused.ts";
import { indexing } from "./indexing.ts";
import { products } from "./matmul.ts";
import { movement } from "./movement.ts";
import { quantised } from "./quantised.ts";
import { reductions } from "./reduce.ts";
import type { Rules } from "./rule.ts";

export const kernels: Rules = { ...elementwise, ...reductions, ...movement, ...indexing, ...products, ...convolutions, ...fused, ...quantised };

/**
 * Kernels that a provider's operators do not compute, by what was seen of them (onnxruntime 1.30, test/models/webgpu.test.ts), or that are of no use there. They
 * are taken for not recorded there: shared/models has its own kernels in tfjs ops, too, and a lazy graph hands others to tfjs's CPU backend.
 */
const unfit: Partial<Record<Device["provider"], Readonly<Record<string, string>>>> = {
  cuda: { CachedAttention: "a cache in the processor's memory is not written in place" },
  webgpu: {
    CachedAttention: "a cache in the processor's memory is not written in place",
    RmsNorm: "SimplifiedLayerNormalization leaves its second output, which the gradient needs, as it was: gradients were wrong by factors of a thousand and more",
    MaxPool: "MaxPool has no second output, by which the gradient finds the largest: it fails",
    MaxPoolGrad: "as MaxPool",
    DepthwiseConv2dNativeBackpropFilter: "the products of a grouped Conv are not those of the processor",
  },
};

/** The rules that hold on a device. */
export function kernelsOf({ provider }: Device): Rules {
  const without = unfit[provider] ?? {};
  return Object.fromEntries(Object.entries(kernels).filter(([name]) => !(name in without)));
}
