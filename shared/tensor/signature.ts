/** What a function of tensors looks like to its callers, whoever runs it: a compiled graph (compile.ts) or another tfjs backend (eager.ts). */
import { arrayOf, sizeOf, type Shape, type TypedArray } from "./graph.ts";

export interface InputSpec {
  readonly shape: Shape;
  readonly dtype: "float32" | "int32" | "bool";
}

/** An array with the shape that it has in this run. */
export interface Sized {
  readonly values: TypedArray;
  readonly shape: Shape;
}

/** One input, or several that stand together: who hands over the same list again is not asked about each of it. */
export type Given = TypedArray | Sized | readonly Sized[];

/** The inputs one by one. */
export const flattened = (given: readonly Given[]): (TypedArray | Sized)[] => given.flatMap((each): (TypedArray | Sized)[] => (isList(each) ? [...each] : [each]));

export const isList = (given: Given): given is readonly Sized[] => Array.isArray(given);

export interface Compiled {
  /** A free side is -1. */
  readonly outputs: readonly InputSpec[];
  /** ONNX nodes; 0 where nothing is compiled. */
  readonly nodeCount: number;
  /** Milliseconds spent tracing and emitting, and opening the session. */
  readonly milliseconds: { readonly trace: number; readonly open: number };
  /**
   * @param inputs one array per spec, read in place, with its shape where the spec's has free sides; lengths and types are checked, because a short
   * array would be read past its end. Lists stand for what is in them
   * @param wanted which outputs are handed over, by index: each is copied; default: all
   * @returns one array per wanted output, in the order of `wanted`
   */
  run(inputs: readonly Given[], wanted?: readonly number[]): Promise<TypedArray[]>;
  close(): Promise<void>;
}

/** @throws RangeError when there is no such output */
export function chosen<T>(outputs: readonly T[], wanted: readonly number[]): T[] {
  return wanted.map((at) => {
    const found = outputs[at];
    if (found === undefined) throw new RangeError(`output ${at} of ${outputs.length} was asked for`);
    return found;
  });
}

/** A shape of which the first side may be free. @throws RangeError when another is */
export function withRows(shape: Shape, rows: number): Shape {
  const whole = shape.map((side, axis) => (side === -1 && axis === 0 ? rows : side));
  if (whole.includes(-1)) throw new RangeError(`an output of the shape [${shape.join(",")}] can't be made before it is computed`);
  return whole;
}

/**
 * An input with its shape.
 * @param wanted the declared shape; -1: any side
 * @throws RangeError, TypeError when length, shape or type is another than was declared
 */
export function checkInput(array: TypedArray | Sized | undefined, wanted: Shape, dtype: InputSpec["dtype"], at: number): Sized {
  const { values, shape } = array !== undefined && "values" in array && "shape" in array ? array : { values: array, shape: wanted };
  if (shape.length !== wanted.length || wanted.some((side, axis) => side !== -1 && side !== shape[axis])) throw new RangeError(`input ${at} has the shape [${shape.join(",")}], the function takes [${wanted.join(",")}] (-1: any)`);
  if (values === undefined || values.length !== sizeOf(shape)) throw new RangeError(`input ${at} has ${values?.length} elements, its shape [${shape.join(",")}] needs ${sizeOf(shape)}`);
  if (!(values instanceof arrayOf[dtype])) throw new TypeError(`input ${at} is ${values.constructor.name}, its type ${dtype} needs ${arrayOf[dtype].name}`);
  return { values, shape };
}
