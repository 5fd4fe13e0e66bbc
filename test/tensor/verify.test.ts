import assert from "node:assert/strict";
import { test } from "node:test";
import { int64s, leaf, node, output, type Attributes, type DType, type Node, type Shape } from "../../shared/tensor/graph.ts";
import { verifyGraph } from "../../shared/tensor/verify.ts";

const input = (shape: Shape, dtype: DType = "float32") => leaf({ kind: "input", name: "x" }, shape, dtype);
const [a, b] = [input([2, 3]), input([3])];
const top = (outputs: Node["outputs"]) => node("TopK", [a, int64s([2])], [2, 2], "float32", { ...(outputs === undefined ? {} : { outputs }) });

/** Strides of 2, no padding. */
const windows = (sides: readonly number[], more: Attributes = {}) => ({ attributes: { kernel_shape: { ints: sides }, strides: { ints: [2, 2] }, pads: { ints: [0, 0, 0, 0] }, dilations: { ints: [1, 1] }, ...more } });

const sound: Record<string, Node> = {
  sum: node("Add", [a, b], [2, 3], "float32"),
  comparison: node("Less", [a, b], [2, 3], "bool"),
  "matrix product": node("MatMul", [input([4, 2, 3]), input([3, 5])], [4, 2, 5], "float32"),
  "turned matrix product": node("FusedMatMul", [a, input([5, 3])], [2, 5], "float32", { attributes: { transB: { int: 1 } } }),
  "slice backwards": node("Slice", [a, int64s([2]), int64s([-4]), int64s([1]), int64s([-1])], [2, 3], "float32"),
  "slice past the end": node("Slice", [a, int64s([1]), int64s([99]), int64s([1]), int64s([1])], [2, 2], "float32"),
  "second output": output(top([{ shape: [2, 2], dtype: "float32" }, { shape: [2, 2], dtype: "int64" }]), 1),
  convolution: node("Conv", [input([2, 3, 5, 6]), input([4, 3, 2, 2])], [2, 4, 2, 3], "float32", windows([2, 2])),
  "convolution by channels": node("Conv", [input([2, 3, 5, 6]), input([6, 1, 2, 2])], [2, 6, 2, 3], "float32", windows([2, 2], { group: { int: 3 } })),
  "a convolution's gradient": node("ConvTranspose", [input([2, 4, 2, 3]), input([4, 3, 2, 2])], [2, 3, 5, 6], "float32", windows([2, 2], { output_padding: { ints: [1, 0] } })),
  pooling: node("MaxPool", [input([2, 3, 5, 6])], [2, 3, 2, 3], "float32", windows([2, 2])),
  "adding at places": node("ScatterElements", [input([9]), input([4], "int64"), input([4])], [9], "float32"),
  "empty reshape": node("Reshape", [input([0, 3]), int64s([5, 0])], [5, 0], "float32", { attributes: { allowzero: { int: 1 } } }),
};

const faulty: Record<string, [Node, RegExp]> = {
  "a wrong shape": [node("Add", [a, b], [3, 2], "float32"), /^Add float32 \[3,2\], of Leaf float32 \[2,3\], Leaf float32 \[3\]: the operator gives float32 \[2,3\]/],
  "a wrong type": [node("Less", [a, b], [2, 3], "float32"), /gives bool/],
  "types that do not go together": [node("Add", [a, input([3], "int32")], [2, 3], "float32"), /types/],
  "counting with booleans": [node("Add", [input([1], "bool"), input([1], "bool")], [1], "bool"), /types/],
  "sides that do not broadcast": [node("Mul", [a, input([2])], [2, 3], "float32"), /axis 1 has the sides 3 and 2/],
  "an operator that nobody described": [node("Einsum", [a], [2, 3], "float32"), /no row/],
  "a convolution that counts one window too many": [node("Conv", [input([2, 3, 5, 6]), input([4, 3, 2, 2])], [2, 4, 3, 3], "float32", windows([2, 2])), /gives float32 \[2,4,2,3\]/],
  "a filter for other channels": [node("Conv", [input([2, 3, 5, 6]), input([4, 2, 2, 2])], [2, 4, 2, 3], "float32", windows([2, 2])), /channels/],
  "a filter of another size": [node("Conv", [input([2, 3, 5, 6]), input([4, 3, 2, 2])], [2, 4, 2, 3], "float32", windows([2, 3])), /another size/],
  "more padding than a stride": [node("ConvTranspose", [input([2, 4, 2, 3]), input([4, 3, 2, 2])], [2, 3, 6, 6], "float32", windows([2, 2], { output_padding: { ints: [2, 0] } })), /no room for 2,0/],
  "pooling of integers": [node("MaxPool", [input([2, 3, 5, 6], "int32")], [2, 3, 2, 3], "int32", windows([2, 2])), /int32/],
  "updates that do not fit": [node("ScatterElements", [input([9]), input([4], "int64"), input([5])], [9], "float32"), /updates/],
  "too many elements for a shape": [node("Reshape", [a, int64s([7])], [7], "float32"), /6 elements/],
  "a zero that ONNX would read as the old side": [node("Reshape", [input([0, 3]), int64s([5, 0])], [5, 0], "float32"), /allowzero/],
  "an axis twice": [node("Transpose", [a], [2, 2], "float32", { attributes: { perm: { ints: [0, 0] } } }), /no order/],
  "inner sides": [node("MatMul", [a, input([2, 3])], [2, 3], "float32"), /inner sides are 3 and 2/],
  "indices of a float": [node("Gather", [a, b], [3, 3], "float32", { attributes: { axis: { int: 0 } } }), /indices are float32/],
  "an axis that is not there": [node("ReduceSum", [a, int64s([2])], [2], "float32"), /no axis 2/],
  "kept axes": [node("ReduceSum", [a, int64s([1])], [2], "float32", { attributes: { keepdims: { int: 1 } } }), /gives float32 \[2,1\]/],
  "outputs declared otherwise": [top([{ shape: [2, 2], dtype: "float32" }, { shape: [2, 2], dtype: "int32" }]), /declared otherwise/],
  "data of another length": [leaf({ kind: "data", values: new Float32Array(3) }, [2], "float32"), /3 elements/],
  "data of another type": [leaf({ kind: "data", values: new Int32Array(2) }, [2], "float32"), /Int32Array/],
  "a region of another length": [leaf({ kind: "file", path: "w", offset: 0, bytes: 4 }, [2], "float32"), /4 bytes/],
  "a shape that is not constant": [node("Expand", [b, input([2], "int64")], [2, 3], "float32"), /no int64 constant/],
  "half a side": [input([1.5]), /whole number/],
  "a fault below a sound node": [node("Neg", [node("Add", [a, b], [3], "float32")], [3], "float32"), /^Add/],
};

for (const [name, graph] of Object.entries(sound)) test(`sound: ${name}`, () => verifyGraph([graph]));
for (const [name, [graph, message]] of Object.entries(faulty)) {
  test(`found: ${name}`, () => {
    assert.throws(() => verifyGraph([graph]), { message });
  });
}
