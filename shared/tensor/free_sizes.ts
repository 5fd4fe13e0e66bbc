/**
 * Graphs whose sides are not known when they are compiled: a batch that rows join and leave, a cache that grows. A function is traced twice, with other
 * sizes for what shall be free; the two graphs must be the same but for those sizes, and become one in which they are open (-1). What would tie
 * the graph to a size (a constant that depends on it) is an error that names the operator, never a wrong result.
 */
import { fill, int64s, leaf, node, sameShape, type Node, type Shape } from "./graph.ts";

/** Operators that broadcast their inputs, so that a repeated number may come in as one. */
const broadcasting = new Set(["Add", "Sub", "Mul", "Div", "Where", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "And", "Or", "Max", "Min"]);
const toTheEnd = 2 ** 53 - 1;

/** Where the sizes of two traces differ, -1. @throws RangeError when they have another number of sides */
export function openShape(a: Shape, b: Shape): number[] {
  if (a.length !== b.length) throw new RangeError(`shapes [${a.join(",")}] and [${b.join(",")}] have another number of sides: the function decides by a free size`);
  return a.map((side, axis) => (side === b[axis] ? side : -1));
}

export interface Traced {
  readonly inputs: Node[];
  readonly outputs: Node[];
}

/**
 * @param first one trace; @param second another of the same function
 * @returns the same graph with open sides
 * @throws RangeError naming the operator that depends on a free size
 */
export function mergeTraces(first: Traced, second: Traced): Traced {
  if (first.outputs.length !== second.outputs.length) throw new RangeError("the number of outputs depends on a free size");
  const inputs = first.inputs.map((a, at) => mergeLeaf(a, second.inputs[at] ?? a, openShape(a.shape, second.inputs[at]?.shape ?? [])));
  const known = sizesOf(first.inputs, second.inputs, inputs);
  const merged = new Map(first.inputs.map((a, at) => [a, { with: second.inputs[at] ?? a, node: inputs[at] ?? a }]));
  return { inputs, outputs: mergeNodes(first.outputs, second.outputs, merged, known) };
}

function mergeNodes(first: readonly Node[], second: readonly Node[], merged: Map<Node, { readonly with: Node; readonly node: Node }>, known: Sizes): Node[] {
  const of = (a: Node, b: Node): Node | undefined => {
    const seen = merged.get(a);
    if (seen !== undefined && seen.with !== b) throw new RangeError(`${a.op} of one trace stands for two nodes of the other: they are equal by chance, take other sizes`);
    return seen?.node;
  };
  const stack: [Node, Node][] = [...first].map((a, at): [Node, Node] => [a, second[at] ?? a]);
  while (stack.length > 0) {
    const [a, b] = stack.at(-1) ?? [];
    if (a === undefined || b === undefined) break;
    if (merged.has(a)) {
      stack.pop();
      continue;
    }
    if (a.op !== b.op || a.domain !== b.domain || a.inputs.length !== b.inputs.length) throw new RangeError(`${a.op} in one trace is ${b.op} in the other: the function decides by a free size`);
    const open = a.inputs.flatMap((input, at): [Node, Node][] => (merged.has(input) || isBound(a.op, at) ? [] : [[input, b.inputs[at] ?? input]]));
    if (open.length > 0) {
      stack.push(...open);
      continue;
    }
    stack.pop();
    merged.set(a, { with: b, node: merge(a, b, of, known) });
  }
  return first.map((a) => {
    const made = merged.get(a)?.node;
    if (made === undefined) throw new RangeError(`${a.op} was not merged`);
    return made;
  });
}

/** Inputs that are constants and may hold a free size: they are made anew. */
const isBound = (op: string, input: number) => ((op === "Reshape" || op === "Slice") && input > 0) || (op === "RotaryEmbedding" && input === 1);

function merge(a: Node, b: Node, of: (a: Node, b: Node) => Node | undefined, known: Sizes): Node {
  const shape = openShape(a.shape, b.shape);
  if (JSON.stringify(a.attributes) !== JSON.stringify(b.attributes)) throw new RangeError(`${a.op} has other attributes in each trace: they depend on a free size`);
  const input = (at: number): Node => {
    const [x, y] = [a.inputs[at], b.inputs[at]];
    const made = x === undefined || y === undefined ? undefined : of(x, y);
    if (made === undefined) throw new RangeError(`${a.op}: input ${at} was not merged`);
    return made;
  };
  switch (a.op) {
    case "Leaf":
      return mergeLeaf(a, b, shape);
    case "Fill":
      if (a.fill !== b.fill) throw new RangeError("a number depends on a free size");
      return fill(shape, a.dtype, a.fill ?? 0);
    case "Reshape":
      return reshaped(a, b, input(0), shape, known);
    case "Slice":
      return node("Slice", [input(0), ...bounds(a, b, known)], shape, a.dtype);
    case "RotaryEmbedding":
      return { ...a, inputs: [input(0), numberedThrough(a, b, input(2), known), input(2), input(3)], shape };
    default: {
      const inputs = a.inputs.map((_, at) => {
        const made = input(at);
        if (made.op !== "Fill" || !made.shape.includes(-1)) return made;
        if (!broadcasting.has(a.op)) throw new RangeError(`${a.op} needs a constant whose shape depends on a free size`);
        return fill([], made.dtype, made.fill ?? 0);
      });
      const outputs = a.outputs?.map((made, at) => ({ ...made, shape: openShape(made.shape, b.outputs?.[at]?.shape ?? []) }));
      return { ...a, inputs, shape, ...(outputs === undefined ? {} : { outputs }) };
    }
  }
}

function mergeLeaf(a: Node, b: Node, shape: Shape): Node {
  const [x, y] = [a.source, b.source];
  if (x === undefined || y === undefined || x.kind !== y.kind) throw new RangeError("a leaf of one trace is another in the other");
  if (x.kind === "data" && y.kind === "data" && !(sameShape(a.shape, b.shape) && x.values.every((value, at) => Object.is(value, y.values[at])))) throw new RangeError(`a constant of shape [${a.shape.join(",")}] depends on a free size`);
  return leaf(x, shape, a.dtype);
}

/**
 * ONNX Reshape: 0 is the input's side at the same place, and one -1 is what remains. Sides of 1 put in or taken out need not know the others. Where more is
 * free, sides are read off the inputs that they come from.
 */
function reshaped(a: Node, b: Node, input: Node, shape: Shape, known: Sizes): Node {
  const [from, other] = [a.inputs[0]?.shape ?? [], b.inputs[0]?.shape ?? []];
  const wanted = a.shape.map((side, axis) => (side === b.shape[axis] ? side : side === from[axis] && b.shape[axis] === other[axis] ? 0 : -1));
  if (wanted.filter((side) => side === -1).length <= 1 && !a.shape.includes(0)) return node("Reshape", [input, int64s(wanted)], shape, a.dtype);
  const added = placesOfOnes(from, a.shape);
  if (added !== undefined && sameShape(added, placesOfOnes(other, b.shape) ?? [])) return node("Unsqueeze", [input, int64s(added)], shape, a.dtype);
  const removed = placesOfOnes(a.shape, from);
  if (removed !== undefined && sameShape(removed, placesOfOnes(b.shape, other) ?? [])) return node("Squeeze", [input, int64s(removed)], shape, a.dtype);
  const sides = lookedUp(wanted, a.shape, b.shape, known);
  if (sides === undefined || a.shape.includes(0)) throw new RangeError(`Reshape of [${from.join(",")}] into [${a.shape.join(",")}] has more than one side that follows from free sizes`);
  return node("Reshape", [input, sides], shape, a.dtype);
}

/** A shape as numbers that are found in a run, but for the last -1; undefined where there is another that no input has. */
function lookedUp(wanted: readonly number[], first: Shape, second: Shape, known: Sizes): Node | undefined {
  const rest = wanted.findLastIndex((side, axis) => side === -1 && !known.has(`${first[axis]} ${second[axis]}`));
  const sides = wanted.map((side, axis) => (side !== -1 || axis === rest ? int64s([side]) : known.get(`${first[axis]} ${second[axis]}`)));
  if (!sides.every((side) => side !== undefined)) return undefined;
  return node("Concat", sides, [wanted.length], "int64", { attributes: { axis: { int: 0 } } });
}

/** Where `longer` has ones that make it out of `shorter`; undefined when that is not how they differ. */
function placesOfOnes(shorter: Shape, longer: Shape): number[] | undefined {
  const places: number[] = [];
  let at = 0;
  longer.forEach((side, axis) => {
    if (side === shorter[at]) at++;
    else if (side === 1) places.push(axis);
    else at = Infinity;
  });
  return at === shorter.length ? places : undefined;
}

/** The positions [B, T] that a rotary embedding looks up in tables [B·T, ..], which hold one row for each (kernels/fused.ts): 0, 1, 2, … */
function numberedThrough(a: Node, b: Node, table: Node, known: Sizes): Node {
  const [places, others] = [a.inputs[1], b.inputs[1]];
  const inOrder = (of: Node | undefined) => of?.source?.kind === "data" && of.source.values.every((value, at) => Number(value) === at);
  if (places === undefined || others === undefined || !inOrder(places) || !inOrder(others)) throw new RangeError("RotaryEmbedding looks angles up at positions that depend on a free size");
  const number = (value: number) => leaf({ kind: "data", values: BigInt64Array.of(BigInt(value)) }, [], "int64");
  const count = node("Gather", [node("Shape", [table], [2], "int64"), number(0)], [], "int64", { attributes: { axis: { int: 0 } } });
  const shape = openShape(places.shape, others.shape);
  const sides = shape.filter((side) => side === -1).length > 1 ? lookedUp(shape, places.shape, others.shape, known) : int64s(shape);
  if (sides === undefined) throw new RangeError("RotaryEmbedding has positions whose sides no input has");
  return node("Reshape", [node("Range", [number(0), count, number(1)], [-1], "int64"), sides], shape, "int64");
}

/** Bounds that follow from a free size are counted from the end, or are a free size themselves. */
function bounds(a: Node, b: Node, known: Sizes): Node[] {
  const axes = numbersOf(a.inputs[3]);
  if (!sameShape(axes, numbersOf(b.inputs[3])) || !sameShape(numbersOf(a.inputs[4]), numbersOf(b.inputs[4]))) throw new RangeError("Slice takes other axes in each trace");
  const relative = (which: 1 | 2): Node => {
    const entries = numbersOf(a.inputs[which]).map((bound, at): number | Node => {
      const [axis = 0, matching] = [axes[at], numbersOf(b.inputs[which])[at] ?? 0];
      if (bound === matching) return bound;
      const fromEnd = bound - (a.inputs[0]?.shape[axis] ?? 0);
      if (fromEnd === matching - (b.inputs[0]?.shape[axis] ?? 0) && fromEnd <= 0) return fromEnd === 0 ? toTheEnd : fromEnd;
      const size = known.get(`${bound} ${matching}`);
      if (size === undefined) throw new RangeError("Slice has bounds that follow from a free size in a way that cannot be written");
      return size;
    });
    if (entries.every((entry) => typeof entry === "number")) return int64s(entries);
    return node("Concat", entries.map((entry) => (typeof entry === "number" ? int64s([entry]) : entry)), [entries.length], "int64", { attributes: { axis: { int: 0 } } });
  };
  return [relative(1), relative(2), int64s(axes), int64s(numbersOf(a.inputs[4]))];
}

/** By the two values of a free size, the node that says what it is in a run, int64 [1]. */
type Sizes = ReadonlyMap<string, Node>;

function sizesOf(first: readonly Node[], second: readonly Node[], merged: readonly Node[]): Sizes {
  const sizes = new Map<string, Node>();
  first.forEach((a, input) =>
    a.shape.forEach((side, axis) => {
      const [other, of] = [second[input]?.shape[axis], merged[input]];
      const key = `${side} ${other}`;
      if (side === other || of === undefined || sizes.has(key)) return;
      sizes.set(key, node("Gather", [node("Shape", [of], [a.shape.length], "int64"), int64s([axis])], [1], "int64", { attributes: { axis: { int: 0 } } }));
    }),
  );
  return sizes;
}

function numbersOf(of: Node | undefined): number[] {
  if (of?.source?.kind !== "data") throw new RangeError("Slice's bounds are no constants");
  return Array.from(of.source.values as BigInt64Array, Number);
}
