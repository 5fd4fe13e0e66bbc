/**
 * Convolutions and pooling over two axes. tfjs keeps channels last; ONNX wants them first, and filters by output channel first. ONNX Runtime takes out transposes that
 * follow one another.
 */
import { backend_util } from "@tensorflow/tfjs-core";
import { binary, fill, node, output, reshape, sameShape, sizeOf, transpose, type Attributes, type Node, type Shape } from "../graph.ts";
import { activate } from "./activation.ts";
import { slice } from "./movement.ts";
import { NotRecorded, input, type Rule, type Rules } from "./rule.ts";

type Info = backend_util.Conv2DInfo;
type Sides = [number, number, number, number];
type Pad = "valid" | "same" | number | backend_util.ExplicitPadding;
interface Attrs {
  readonly strides: [number, number] | number;
  readonly pad: Pad;
  readonly dataFormat?: "NHWC" | "NCHW";
  readonly dilations?: [number, number] | number | null;
  readonly dimRoundingMode?: "floor" | "round" | "ceil";
  readonly filterSize: [number, number] | number;
}

/** tfjs's attributes come untyped. */
const attrs = (attributes: Record<string, unknown>) => attributes as unknown as Attrs;

function describe(x: Shape, filter: Shape, attributes: Record<string, unknown>, depthwise = false): Info {
  const { strides, pad, dataFormat = "NHWC", dilations, dimRoundingMode } = attrs(attributes);
  const info = backend_util.computeConv2DInfo([...x] as Sides, [...filter] as Sides, strides, dilations ?? 1, pad, dimRoundingMode, depthwise, backend_util.convertConv2DDataFormat(dataFormat));
  return demandPlain(info);
}

function describePool(x: Shape, attributes: Record<string, unknown>): Info {
  const { filterSize, strides, pad, dimRoundingMode } = attrs(attributes);
  const info = demandPlain(backend_util.computePool2DInfo([...x] as Sides, filterSize, strides, 1, pad, dimRoundingMode));
  const { top, bottom, left, right } = info.padInfo;
  if (Math.max(top, bottom) >= info.filterHeight || Math.max(left, right) >= info.filterWidth) throw new NotRecorded("pooling of windows that are nothing but padding is not recorded by this backend");
  return info;
}

/** ONNX rounds the number of windows down. */
function demandPlain(info: Info): Info {
  const windows = (side: number, padding: number, window: number, stride: number) => Math.floor((side + padding - window) / stride) + 1;
  const { top, bottom, left, right } = info.padInfo;
  const rows = windows(info.inHeight, top + bottom, info.effectiveFilterHeight, info.strideHeight);
  const columns = windows(info.inWidth, left + right, info.effectiveFilterWidth, info.strideWidth);
  if (rows !== info.outHeight || columns !== info.outWidth || info.batchSize === 0) throw new NotRecorded("windows that are not counted by rounding down are not recorded by this backend");
  return info;
}

const pads = ({ padInfo: { top, left, bottom, right } }: Info) => ({ ints: [top, left, bottom, right] });
const strides = (info: Info) => ({ ints: [info.strideHeight, info.strideWidth] });
const dilations = (info: Info) => ({ ints: [info.dilationHeight, info.dilationWidth] });
const window = (info: Info) => ({ ints: [info.filterHeight, info.filterWidth] });

/** Between tfjs's order of axes and [rows, channels, height, width]. */
const channelsFirst = (value: Node, info: Info) => (info.dataFormat === "channelsLast" ? transpose(value, [0, 3, 1, 2]) : value);
const channelsBack = (value: Node, info: Info) => (info.dataFormat === "channelsLast" ? transpose(value, [0, 2, 3, 1]) : value);
/** [height, width, in, out] as [out, in, height, width]; of a depthwise one as [in · multiplier, 1, height, width]. */
const turnedFilter = (filter: Node, depthwise: boolean) =>
  depthwise ? reshape(transpose(filter, [2, 3, 0, 1]), [(filter.shape[2] ?? 1) * (filter.shape[3] ?? 1), 1, filter.shape[0] ?? 1, filter.shape[1] ?? 1]) : transpose(filter, [3, 2, 0, 1]);
const grouped = (info: Info, depthwise: boolean) => ({ group: { int: depthwise ? info.inChannels : 1 } });

function convolve(x: Node, filter: Node, info: Info, depthwise: boolean): Node {
  const attributes: Attributes = { pads: pads(info), strides: strides(info), dilations: dilations(info), kernel_shape: window(info), ...grouped(info, depthwise) };
  const made = node("Conv", [channelsFirst(x, info), turnedFilter(filter, depthwise)], [info.batchSize, info.outChannels, info.outHeight, info.outWidth], "float32", { attributes });
  return channelsBack(made, info);
}

/** Each element of dy spread over its window, weighted: the transpose of a convolution. @param weights [out, in of the group, height, width] */
function spread(dy: Node, weights: Node, info: Info, groups: number): Node {
  if (!sameShape(dy.shape, info.outShape)) throw new NotRecorded(`a gradient of [${dy.shape.join(",")}] for windows of [${info.outShape.join(",")}] is not recorded by this backend`);
  const { top, bottom, left, right } = info.padInfo;
  const rest = [
    info.inHeight - ((info.outHeight - 1) * info.strideHeight + info.effectiveFilterHeight - top - bottom),
    info.inWidth - ((info.outWidth - 1) * info.strideWidth + info.effectiveFilterWidth - left - right),
  ];
  const attributes: Attributes = { pads: pads(info), strides: strides(info), dilations: dilations(info), kernel_shape: window(info), output_padding: { ints: rest }, group: { int: groups } };
  const made = node("ConvTranspose", [channelsFirst(dy, info), weights], [info.batchSize, info.inChannels, info.inHeight, info.inWidth], "float32", { attributes });
  return channelsBack(made, info);
}

/**
 * The filter's gradient is a convolution too: of x, rows and channels exchanged, with dy as the filter, whose elements lie a stride apart.
 * What strides left over at the edge is cut off.
 */
function filterGradient(x: Node, dy: Node, info: Info, depthwise: boolean): Node {
  const [count, groups] = [info.batchSize, depthwise ? info.inChannels : 1];
  const turned = (value: Node) => transpose(channelsFirst(value, info), [1, 0, 2, 3]);
  const rows = depthwise ? reshape(turned(x), [1, info.inChannels * count, info.inHeight, info.inWidth]) : turned(x);
  const { top, bottom, left, right } = info.padInfo;
  const height = info.inHeight + top + bottom - (info.outHeight - 1) * info.strideHeight;
  const width = info.inWidth + left + right - (info.outWidth - 1) * info.strideWidth;
  const attributes: Attributes = { pads: pads(info), strides: dilations(info), dilations: strides(info), kernel_shape: { ints: [info.outHeight, info.outWidth] }, group: { int: groups } };
  const [tall, wide] = [Math.floor((height - 1) / info.dilationHeight) + 1, Math.floor((width - 1) / info.dilationWidth) + 1];
  const first = rows.shape[0] ?? 1;
  const made = node("Conv", [rows, turned(dy)], [first, info.outChannels, tall, wide], "float32", { attributes });
  const cut = slice(made, [0, 0, 0, 0], [first, info.outChannels, info.filterHeight, info.filterWidth]);
  if (!depthwise) return transpose(cut, [2, 3, 0, 1]);
  return transpose(reshape(cut, [info.inChannels, info.outChannels / info.inChannels, info.filterHeight, info.filterWidth]), [2, 3, 0, 1]);
}

const convolution = (depthwise: boolean): Rule => (inputs, attributes) => {
  const [x, filter] = [input(inputs, "x"), input(inputs, "filter")];
  return convolve(x, filter, describe(x.shape, filter.shape, attributes, depthwise), depthwise);
};

const fused = (depthwise: boolean): Rule => (inputs, attributes) => {
  const [x, filter, bias] = [input(inputs, "x"), input(inputs, "filter"), inputs["bias"]];
  const info = describe(x.shape, filter.shape, attributes, depthwise);
  if (info.dataFormat !== "channelsLast") throw new NotRecorded("a fused convolution with channels first is not recorded by this backend");
  const made = convolve(x, filter, info, depthwise);
  return activate(bias === undefined ? made : binary("Add", made, bias, made.shape, made.dtype), inputs, attributes);
};

const inputGradient = (depthwise: boolean): Rule => (inputs, attributes) => {
  const [dy, filter] = [input(inputs, "dy"), input(inputs, "filter")];
  const info = describe(attributes["inputShape"] as Shape, filter.shape, attributes, depthwise);
  return spread(dy, turnedFilter(filter, depthwise), info, depthwise ? info.inChannels : 1);
};

const filterGradients = (depthwise: boolean): Rule => (inputs, attributes) => {
  const [x, dy] = [input(inputs, "x"), input(inputs, "dy")];
  return filterGradient(x, dy, describe(x.shape, attributes["filterShape"] as Shape, attributes, depthwise), depthwise);
};

const poolShape = (info: Info) => [info.batchSize, info.inChannels, info.outHeight, info.outWidth];
const poolAttributes = (info: Info): Attributes => ({ pads: pads(info), strides: strides(info), kernel_shape: window(info) });

/** Values and where they lie. Both, also where only the values are asked for: the gradient's node is then the same one. */
function maximumPool(x: Node, info: Info): Node {
  const shape = poolShape(info);
  const outputs = [{ shape, dtype: x.dtype }, { shape, dtype: "int64" }] as const;
  return node("MaxPool", [channelsFirst(x, info)], shape, x.dtype, { attributes: poolAttributes(info), outputs });
}

export const convolutions: Rules = {
  Conv2D: convolution(false),
  DepthwiseConv2dNative: convolution(true),
  FusedConv2D: fused(false),
  FusedDepthwiseConv2D: fused(true),
  Conv2DBackpropInput: inputGradient(false),
  DepthwiseConv2dNativeBackpropInput: inputGradient(true),
  Conv2DBackpropFilter: filterGradients(false),
  DepthwiseConv2dNativeBackpropFilter: filterGradients(true),
  MaxPool: (inputs, attributes) => {
    const x = input(inputs, "x");
    const info = describePool(x.shape, attributes);
    return channelsBack(output(maximumPool(x, info), 0), info);
  },
  // The first greatest of each window gets its share.
  MaxPoolGrad: (inputs, attributes) => {
    const [dy, x] = [input(inputs, "dy"), input(inputs, "input")];
    const info = describePool(x.shape, attributes);
    const [size, count] = [sizeOf(x.shape), sizeOf(poolShape(info))];
    const places = reshape(output(maximumPool(x, info), 1), [count]);
    const shares = reshape(channelsFirst(dy, info), [count]);
    const summed = node("ScatterElements", [fill([size], "float32", 0), places, shares], [size], "float32", { attributes: { axis: { int: 0 }, reduction: { string: "add" } } });
    return channelsBack(reshape(summed, [info.batchSize, info.inChannels, info.inHeight, info.inWidth]), info);
  },
  AvgPool: (inputs, attributes) => {
    const x = input(inputs, "x");
    const info = describePool(x.shape, attributes);
    return channelsBack(node("AveragePool", [channelsFirst(x, info)], poolShape(info), x.dtype, { attributes: { ...poolAttributes(info), count_include_pad: { int: 0 } } }), info);
  },
  // tfjs divides by the whole window, also where it lies half in the padding.
  AvgPoolGrad: (inputs, attributes) => {
    const [dy, x] = [input(inputs, "dy"), input(inputs, "input")];
    const info = describePool(x.shape, attributes);
    const share = fill([info.inChannels, 1, info.filterHeight, info.filterWidth], "float32", Math.fround(1 / (info.filterHeight * info.filterWidth)));
    return spread(dy, share, info, info.inChannels);
  },
};
