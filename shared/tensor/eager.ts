/**
 * Functions of tensors that another tfjs backend runs, call by call: @tensorflow/tfjs-node-gpu where a user has installed it, tfjs's CPU backend in tests. The
 * same surface as a compiled function (compile.ts), so that trainer, gateway and pre-training need not know which of the two they have.
 * Weights are tensors of that backend, read once; kernels that only our own backend has are ops there (shared/models/kernel.ts).
 */
import { engine, setBackend, tidy, type Tensor } from "@tensorflow/tfjs-core";
import { openShape } from "./free_sizes.ts";
import { arrayOf, sizeOf, type DType, type Node, type Shape, type Source, type TypedArray } from "./graph.ts";
import { readRegion } from "./region.ts";
import type { Device } from "./runtime.ts";
import { checkInput, chosen, flattened, type Compiled, type InputSpec, type Sized } from "./signature.ts";

export class EagerBackend {
  readonly device: Device;
  /** tfjs's name for it. */
  readonly name: string;
  /** As the backend onnx has it; never called here, because nothing is recorded. */
  inspect: (outputs: readonly Node[]) => void = () => undefined;

  constructor(device: Device, name: string) {
    this.device = device;
    this.name = name;
  }

  /** Runs `work` with this backend as tfjs's current one, and puts the other back. */
  use<T>(work: () => T): T {
    const previous = engine().backendName;
    select(this.name);
    try {
      return work();
    } finally {
      if (typeof previous === "string" && previous !== this.name) select(previous);
    }
  }

  /** A tensor with the values of a file's region, which stays as long as the process. */
  tensorOf(source: Source & { readonly kind: "file" }, shape: Shape, dtype: DType): Tensor {
    if (dtype !== "float32" && dtype !== "int32" && dtype !== "bool") throw new TypeError(`tfjs has no ${dtype} tensors: quantised weights need the backend onnx`);
    return this.#make(readRegion(source, shape, dtype), shape, dtype);
  }

  /** One call of a function: arrays in, arrays out, and no tensor left behind. */
  async call(build: (...inputs: Tensor[]) => readonly Tensor[], inputs: readonly (Sized & { readonly dtype: InputSpec["dtype"] })[]): Promise<{ readonly values: TypedArray; readonly shape: Shape; readonly dtype: string }[]> {
    const outputs = this.use(() => tidy(() => [...build(...inputs.map(({ values, shape, dtype }) => this.#make(values, shape, dtype)))]));
    try {
      return await Promise.all(outputs.map(async (output) => ({ values: (await output.data()) as TypedArray, shape: output.shape, dtype: output.dtype })));
    } finally {
      for (const output of outputs) output.dispose();
    }
  }

  #make(values: TypedArray, shape: Shape, dtype: InputSpec["dtype"]): Tensor {
    return this.use(() => engine().makeTensor(values as Float32Array, [...shape], dtype));
  }
}

/** tfjs's setBackend is async only for backends that initialise asynchronously; those that run here have done so. */
function select(name: string): void {
  setBackend(name).catch((error: unknown) => {
    throw error;
  });
}

/**
 * @param build is called with zeros first, to learn the outputs' shapes, and then in each run: it must be pure
 * @param others the same inputs in other sizes: what differs is free, as in `compile`
 */
export async function eagerFunction(backend: EagerBackend, specs: readonly InputSpec[], build: (...inputs: Tensor[]) => readonly Tensor[], others?: readonly InputSpec[]): Promise<Compiled> {
  const started = performance.now();
  const shapesOf = async (sizes: readonly InputSpec[]) => backend.call(build, sizes.map(({ shape, dtype }) => ({ values: new arrayOf[dtype](sizeOf(shape)), shape, dtype })));
  const first = await shapesOf(specs);
  const second = others === undefined ? first : await shapesOf(others);
  const inputs = specs.map(({ shape }, at) => openShape(shape, others?.[at]?.shape ?? shape));
  return {
    outputs: first.map(({ shape, dtype }, at) => ({ shape: openShape(shape, second[at]?.shape ?? shape), dtype: dtype as InputSpec["dtype"] })),
    nodeCount: 0,
    milliseconds: { trace: performance.now() - started, open: 0 },
    async run(given, wanted) {
      const arrays = flattened(given);
      if (arrays.length !== specs.length) throw new RangeError(`expected ${specs.length} inputs, got ${arrays.length}`);
      const sized = specs.map(({ dtype }, at) => ({ ...checkInput(arrays[at], inputs[at] ?? [], dtype, at), dtype }));
      const values = (await backend.call(build, sized)).map((output) => output.values);
      return wanted === undefined ? values : chosen(values, wanted);
    },
    close: () => Promise.resolve(),
  };
}
