/** Base weights with an adapter merged in: W + scale · B · A, one tensor at a time. */
import type { ModelFolder } from "../models/folder.ts";
import type { Adapter, AdapterModule } from "../peft/adapter.ts";

/** Every weight of the folder in float32, those that the adapter is on merged. @throws EverloraError invalid_model_folder */
export async function* mergedWeights(folder: ModelFolder, adapter: Adapter | null): AsyncGenerator<readonly [string, Float32Array]> {
  for await (const [name, { values }] of folder.eachWeight()) {
    const module = adapter?.modules.get(name.replace(/\.weight$/, ""));
    if (module !== undefined) addProduct(values, module);
    yield [name, values];
  }
}

/** weight [out, in] += scale · B [out, r] · A [r, in], in place */
function addProduct(weight: Float32Array, { A, B, rank, scale, inputs, outputs }: AdapterModule & { readonly scale: number }): void {
  for (let row = 0; row < outputs; row++) {
    const target = weight.subarray(row * inputs, (row + 1) * inputs);
    for (let at = 0; at < rank; at++) {
      const factor = scale * (B[row * rank + at] ?? 0);
      if (factor === 0) continue;
      const from = at * inputs;
      for (let column = 0; column < inputs; column++) target[column] = (target[column] ?? 0) + factor * (A[from + column] ?? 0);
    }
  }
}
