/**
 * The only file that imports onnxruntime-node: sessions in, typed arrays out.
 * `run` blocks the JavaScript thread for as long as the model runs (measured: the binding is synchronous inside), so nothing that serves HTTP or
 * holds a job lock may come here: only child processes do.
 */
import { InferenceSession, Tensor, env } from "onnxruntime-node";
import type { DType, Shape, TypedArray } from "./graph.ts";

export interface Device {
  readonly provider: "cpu";
  /** Threads inside one operator. */
  readonly threads: number;
}

export interface Value {
  readonly values: TypedArray;
  readonly shape: Shape;
  readonly dtype: DType;
}

export interface Session {
  /** Feeds by input name; the arrays are read in place, not copied. Resolves with the outputs in the order of `fetches`. */
  run(feeds: Readonly<Record<string, Value>>, fetches: readonly string[]): Promise<TypedArray[]>;
  close(): Promise<void>;
}

export const runtimeVersion = env.versions.common;

/** @param model bytes, or the path of a file whose external data lies beside it (then weights are mapped, not read) */
export async function openSession(model: Uint8Array | string, device: Device): Promise<Session> {
  const options: InferenceSession.SessionOptions = {
    executionProviders: [device.provider],
    graphOptimizationLevel: "all",
    intraOpNumThreads: device.threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    logSeverityLevel: 3,
    // Gateway, trainer and engine share the cores; threads that spin while they wait gain nothing measurable alone and cost the others much.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  };
  const session = typeof model === "string" ? await InferenceSession.create(model, options) : await InferenceSession.create(model, options);
  return {
    async run(feeds, fetches) {
      const tensors: Record<string, Tensor> = {};
      for (const [name, value] of Object.entries(feeds)) tensors[name] = toTensor(value);
      const results = await session.run(tensors, [...fetches]);
      return fetches.map((name) => {
        const result = results[name];
        if (result === undefined) throw new Error(`the session returned no ${name}`);
        return result.data as TypedArray;
      });
    },
    close: () => session.release(),
  };
}

function toTensor({ values, shape, dtype }: Value): Tensor {
  return new Tensor(dtype, values as Float32Array, shape);
}
