/**
 * The graph that tfjs ops are recorded into: nodes are ONNX operators with static shapes.
 * Responsible for: making nodes, sharing equal ones, and the algebra that must not reach the file (zeros and ones that tfjs's gradient code
 * fills in). Not responsible for: what a tfjs kernel means (kernels/), bytes (emit.ts), running (runtime.ts).
 */
/** float64 only between operators: tfjs has no such tensors. */
export type DType = "float32" | "float64" | "int32" | "bool" | "int64" | "float16" | "int8" | "uint8";
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array | BigInt64Array | Uint16Array | Int8Array;
export type Shape = readonly number[];

export type Attribute = { int: number } | { ints: readonly number[] } | { float: number } | { string: string };
export type Attributes = Readonly<Record<string, Attribute>>;

/** Where a leaf's values come from: memory, a region of a file (mapped, never copied into the graph), or the caller of each run. */
export type Source =
  | {
      readonly kind: "data";
      readonly values: TypedArray;
      /** A program wrote or computed them: they may be others the next time. Otherwise a rule made them, and they belong to the graph's structure. */
      readonly given?: true;
    }
  | { readonly kind: "file"; readonly path: string; readonly offset: number; readonly bytes: number }
  | { readonly kind: "input"; readonly name: string };

export interface Node {
  /** An ONNX operator, or: "Leaf" (has `source`), "Fill" (has `fill`), "Output" (picks output `index` of a node with several), "Absent" (an input that an operator can do without). */
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly Node[];
  readonly attributes: Attributes;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly source?: Source;
  /** Every element has this value. */
  readonly fill?: number;
  readonly index?: number;
  /** For nodes with several outputs: the shape and type of each. */
  readonly outputs?: readonly { readonly shape: Shape; readonly dtype: DType }[];
}

export interface NodeOptions {
  attributes?: Attributes;
  domain?: string;
  outputs?: Node["outputs"];
}

export function node(op: string, inputs: readonly Node[], shape: Shape, dtype: DType, options: NodeOptions = {}): Node {
  return { op, domain: options.domain ?? "", inputs, attributes: options.attributes ?? {}, shape, dtype, ...(options.outputs === undefined ? {} : { outputs: options.outputs }) };
}

export function leaf(source: Source, shape: Shape, dtype: DType): Node {
  return { op: "Leaf", domain: "", inputs: [], attributes: {}, shape, dtype, source };
}

export function output(of: Node, index: number): Node {
  const type = of.outputs?.[index];
  if (type === undefined) throw new RangeError(`${of.op} has no output ${index}`);
  return { op: "Output", domain: "", inputs: [of], attributes: {}, shape: type.shape, dtype: type.dtype, index };
}

/** An optional input of an operator that is not given. */
export const absent: Node = { op: "Absent", domain: "", inputs: [], attributes: {}, shape: [], dtype: "float32" };

/** A tensor of one repeated value. It stays symbolic until something really needs its elements. */
export function fill(shape: Shape, dtype: DType, value: number): Node {
  return { op: "Fill", domain: "", inputs: [], attributes: {}, shape, dtype, fill: value };
}

/** Values that a program wrote, or that were computed before. */
export function given(values: TypedArray, shape: Shape, dtype: DType): Node {
  return leaf({ kind: "data", values, given: true }, shape, dtype);
}

/** The number that a leaf's elements all are, as a fill; otherwise the leaf itself. Symbolic zeros and ones vanish from graphs. */
export function asFill(a: Node): Node {
  if (a.source?.kind !== "data" || a.dtype === "int64") return a;
  const values = a.source.values as Float32Array;
  const [first] = values;
  return first !== undefined && Number.isFinite(first) && values.every((value) => Object.is(value, first)) ? fill(a.shape, a.dtype, first) : a;
}

/** A one-dimensional int64 constant: ONNX wants shapes, axes and bounds as such. */
export function int64s(values: readonly number[]): Node {
  return leaf({ kind: "data", values: BigInt64Array.from(values, BigInt) }, [values.length], "int64");
}

export function scalar(value: number, dtype: DType): Node {
  return fill([], dtype, value);
}

export const sizeOf = (shape: Shape): number => shape.reduce((product, side) => product * side, 1);
export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((side, axis) => side === b[axis]);

export const bytesPerElement: Record<DType, number> = { float32: 4, float64: 8, int32: 4, bool: 1, int64: 8, float16: 2, int8: 1, uint8: 1 };
/** What holds a tensor's values in memory. */
export const arrayOf: Record<DType, { readonly name: string; new (length: number): TypedArray }> = { float32: Float32Array, float64: Float64Array, int32: Int32Array, bool: Uint8Array, int64: BigInt64Array, float16: Uint16Array, int8: Int8Array, uint8: Uint8Array };

/**
 * Elementwise operator of two inputs with numpy broadcasting, after the algebra that tfjs's gradients need: x·1, x+0, x−0, x/1 are x; x·0 is 0;
 * an Expand below an operator that broadcasts anyway is dropped.
 */
export function binary(op: string, a: Node, b: Node, shape: Shape, dtype: DType): Node {
  if (a.fill !== undefined && b.fill !== undefined) {
    const folded = foldFills(op, a.fill, b.fill);
    if (folded !== undefined && dtype === "float32") return fill(shape, dtype, Math.fround(folded));
  }
  if (op === "Mul" && a.fill === 1) return expand(b, shape);
  if ((op === "Mul" || op === "Div") && b.fill === 1) return expand(a, shape);
  if (op === "Mul" && (a.fill === 0 || b.fill === 0)) return fill(shape, dtype, 0);
  if (op === "Div" && a.fill === 0) return fill(shape, dtype, 0);
  if (op === "Add" && a.fill === 0) return expand(b, shape);
  if ((op === "Add" || op === "Sub") && b.fill === 0) return expand(a, shape);
  return node(op, slim(a, b, shape), shape, dtype);
}

/** Replaces inputs by smaller ones that broadcast to the same result: a fill becomes a scalar, an Expand its source. */
function slim(a: Node, b: Node, shape: Shape): [Node, Node] {
  const candidates = (n: Node): Node => {
    if (n.fill !== undefined && n.shape.length > 0) return fill([], n.dtype, n.fill);
    const inner = n.inputs[0];
    return n.op === "Expand" && inner !== undefined ? inner : n;
  };
  const [smallA, smallB] = [candidates(a), candidates(b)];
  if (broadcastsTo(smallA, smallB, shape)) return [smallA, smallB];
  if (broadcastsTo(smallA, b, shape)) return [smallA, b];
  if (broadcastsTo(a, smallB, shape)) return [a, smallB];
  return [a, b];
}

function broadcastsTo(a: Node, b: Node, shape: Shape): boolean {
  const rank = Math.max(a.shape.length, b.shape.length);
  if (rank !== shape.length) return false;
  return shape.every((side, axis) => {
    const of = (n: Node) => n.shape[axis - (rank - n.shape.length)] ?? 1;
    const [x, y] = [of(a), of(b)];
    return (x === y ? x : x === 1 ? y : y === 1 ? x : -1) === side;
  });
}

function foldFills(op: string, a: number, b: number): number | undefined {
  switch (op) {
    case "Add":
      return a + b;
    case "Sub":
      return a - b;
    case "Mul":
      return a * b;
    case "Div":
      return a / b;
    default:
      return undefined;
  }
}

export function expand(a: Node, shape: Shape): Node {
  if (sameShape(a.shape, shape)) return a;
  if (a.fill !== undefined) return fill(shape, a.dtype, a.fill);
  return node("Expand", [a, int64s(shape)], shape, a.dtype);
}

export function reshape(a: Node, shape: Shape): Node {
  if (sameShape(a.shape, shape)) return a;
  if (a.fill !== undefined) return fill(shape, a.dtype, a.fill);
  const inner = a.inputs[0];
  if (a.op === "Reshape" && inner !== undefined) return reshape(inner, shape);
  if (a.op === "Leaf" && a.source !== undefined && a.source.kind === "data") return leaf(a.source, shape, a.dtype);
  const earlier = beforeSlice(a, shape);
  if (earlier !== null) return earlier;
  // Without it ONNX reads a 0 as "the side that was there".
  const attributes: Attributes = shape.includes(0) ? { allowzero: { int: 1 } } : {};
  return node("Reshape", [a, int64s(shape)], shape, a.dtype, { attributes });
}

/**
 * Columns of a matrix cut out and then divided into heads are the matrix divided first, of which heads are cut out: what is cut out in several pieces is
 * divided once.
 */
function beforeSlice(a: Node, shape: Shape): Node | null {
  const cut = sliceOf(a);
  if (cut === null) return null;
  const { source, start, end, axis, step } = cut;
  const last = a.shape.length - 1;
  const [columns = 0, width = 0] = [source.shape[last], a.shape[last]];
  const unit = sizeOf(shape.slice(last + 1));
  const divides = end === start + width && axis === last && step === 1 && unit > 1 && [start, width, columns].every((side) => side % unit === 0);
  if (!divides || !sameShape(a.shape.slice(0, last), shape.slice(0, last)) || shape[last] !== width / unit) return null;
  const whole = reshape(source, [...shape.slice(0, last), columns / unit, ...shape.slice(last + 1)]);
  return node("Slice", [whole, int64s([start / unit]), int64s([end / unit]), int64s([last]), int64s([1])], shape, a.dtype);
}

/** A slice along one axis, by constants. */
function sliceOf(a: Node): { readonly source: Node; readonly start: number; readonly end: number; readonly axis: number; readonly step: number } | null {
  const [source, ...bounds] = a.inputs;
  if (a.op !== "Slice" || source === undefined) return null;
  const [start, end, axis, step = 1] = bounds.map((bound) => (bound.source?.kind === "data" && bound.source.values.length === 1 ? Number(bound.source.values[0]) : undefined));
  return start === undefined || end === undefined || axis === undefined ? null : { source, start, end, axis, step };
}

/** What was cut into these parts along an axis, if they are all of it and in order: put together again they are it. */
export function uncut(parts: readonly Node[], axis: number): Node | null {
  let whole: Node | undefined;
  let at = 0;
  for (const part of parts) {
    const cut = sliceOf(part);
    if (cut === null || cut.axis !== axis || cut.step !== 1 || cut.start !== at || (whole !== undefined && cut.source !== whole)) return null;
    whole = cut.source;
    at += part.shape[axis] ?? 0;
  }
  return whole !== undefined && whole.shape[axis] === at ? whole : null;
}

export function transpose(a: Node, permutation: readonly number[]): Node {
  if (permutation.every((from, to) => from === to)) return a;
  const shape = permutation.map((axis) => a.shape[axis] ?? 1);
  if (a.fill !== undefined) return fill(shape, a.dtype, a.fill);
  const inner = a.inputs[0];
  const first = a.attributes["perm"];
  if (a.op === "Transpose" && inner !== undefined && first !== undefined && "ints" in first) return transpose(inner, permutation.map((axis) => first.ints[axis] ?? 0));
  // Where only sides of 1 change their places nothing moves in memory, and a reshape may vanish into its neighbours.
  const moved = permutation.filter((axis) => a.shape[axis] !== 1);
  if (moved.every((axis, at) => at === 0 || axis > (moved[at - 1] ?? 0))) return reshape(a, shape);
  return node("Transpose", [a], shape, a.dtype, { attributes: { perm: { ints: permutation } } });
}

export function cast(a: Node, dtype: DType): Node {
  if (a.dtype === dtype) return a;
  if (a.fill !== undefined) return fill(a.shape, dtype, dtype === "bool" ? Number(a.fill !== 0) : dtype === "int32" || dtype === "int64" ? Math.trunc(a.fill) : a.fill);
  return node("Cast", [a], a.shape, dtype, { attributes: { to: { int: onnxType[dtype] } } });
}

/** TensorProto.DataType. */
export const onnxType: Record<DType, number> = { float32: 1, float64: 11, int32: 6, int64: 7, bool: 9, float16: 10, int8: 3, uint8: 2 };
