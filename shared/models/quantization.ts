/** How frozen weights are kept: the setting QUANTIZATION. */
export const quantizations = ["none", "int8", "int4"] as const;
export type Quantization = (typeof quantizations)[number];
