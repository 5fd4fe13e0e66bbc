/** A kernel that we have no ONNX for, computed by tfjs's CPU kernel of that name: inputs are copied out, results are copied back. */
import "@tensorflow/tfjs-backend-cpu";
import { engine, getKernel, type BackendValues, type DataType, type KernelConfig, type NamedAttrMap, type NamedTensorInfoMap, type TensorInfo } from "@tensorflow/tfjs-core";

export interface HostTensor {
  readonly values: BackendValues;
  readonly shape: number[];
  readonly dtype: DataType;
}

/** The part of tfjs's CPU backend that is needed. */
interface CpuBackend {
  /** It greets with a recommendation of tfjs-node unless it was used before. */
  firstUse: boolean;
  makeTensorInfo(shape: readonly number[], dtype: DataType, values: BackendValues): TensorInfo;
  readSync(dataId: object): BackendValues;
  disposeData(dataId: object, force?: boolean): boolean;
}

/** @param read copies a tensor's values out of our backend; complex ones as pairs of real and imaginary part */
export function runOnCpu(kernelName: string, inputs: NamedTensorInfoMap | TensorInfo[], attrs: NamedAttrMap | undefined, read: (tensor: TensorInfo) => BackendValues): HostTensor | HostTensor[] {
  const backend = engine().findBackend("cpu") as unknown as CpuBackend;
  backend.firstUse = false;
  const made: TensorInfo[] = [];
  const keep = (info: TensorInfo): TensorInfo => {
    made.push(info);
    return info;
  };
  const run = (name: string, given: NamedTensorInfoMap | TensorInfo[], attributes?: NamedAttrMap): TensorInfo | TensorInfo[] => {
    const results = kernelOf(name).kernelFunc({ inputs: given as NamedTensorInfoMap, backend, ...(attributes === undefined ? {} : { attrs: attributes }) });
    return Array.isArray(results) ? results.map(keep) : keep(results);
  };
  const leave = ({ dataId, shape, dtype }: TensorInfo): HostTensor => ({ values: backend.readSync(dataId), shape, dtype });
  const enter = (tensor: TensorInfo): TensorInfo => {
    const values = read(tensor);
    // Dilation2D's gradient reads the rank, which only tfjs's tensors have.
    if (tensor.dtype !== "complex64") return keep(Object.assign(backend.makeTensorInfo(tensor.shape, tensor.dtype, values), { rank: tensor.shape.length }));
    const part = (offset: number) => keep(backend.makeTensorInfo(tensor.shape, "float32", Float32Array.from({ length: values.length / 2 }, (_, at) => Number(values[2 * at + offset]))));
    return [run("Complex", { real: part(0), imag: part(1) })].flat()[0] ?? tensor;
  };
  try {
    const enterAny = (info: TensorInfo | TensorInfo[] | null | undefined) => (Array.isArray(info) ? info.map(enter) : isTensor(info) ? enter(info) : info);
    const entered = Array.isArray(inputs) ? inputs.map(enter) : Object.fromEntries(Object.entries(inputs).map(([name, info]) => [name, enterAny(info)]));
    const results = run(kernelName, entered as NamedTensorInfoMap, attrs);
    return Array.isArray(results) ? results.map(leave) : leave(results);
  } finally {
    // A kernel may hand its input through: each of the two counts.
    for (const { dataId } of made) backend.disposeData(dataId);
  }
}

/** tfjs passes optional inputs as undefined or null, whatever its types say. */
export const isTensor = (info: TensorInfo | null | undefined): info is TensorInfo => info !== undefined && info !== null;

function kernelOf(name: string): KernelConfig {
  const kernel = getKernel(name, "cpu");
  if (kernel === undefined) throw new TypeError(`neither the backend onnx nor tfjs's CPU backend has the kernel ${name}`);
  return kernel;
}
