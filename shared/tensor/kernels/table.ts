/** Every tfjs kernel that is recorded, by its tfjs name. A new kernel is a row in one of the parts. */
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
