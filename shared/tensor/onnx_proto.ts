/**
 * The part of onnx.proto3 (github.com/onnx/onnx, IR version 10) that we write, as a protobufjs descriptor: field names and numbers are the format's.
 */
import protobuf from "protobufjs/light.js";

const field = (id: number, type: string, rule?: "repeated") => ({ id, type, ...(rule === undefined ? {} : { rule }) });

const root = protobuf.Root.fromJSON({
  nested: {
    ModelProto: {
      fields: {
        irVersion: field(1, "int64"),
        producerName: field(2, "string"),
        graph: field(7, "GraphProto"),
        opsetImport: field(8, "OperatorSetIdProto", "repeated"),
      },
    },
    OperatorSetIdProto: { fields: { domain: field(1, "string"), version: field(2, "int64") } },
    GraphProto: {
      fields: {
        node: field(1, "NodeProto", "repeated"),
        name: field(2, "string"),
        initializer: field(5, "TensorProto", "repeated"),
        input: field(11, "ValueInfoProto", "repeated"),
        output: field(12, "ValueInfoProto", "repeated"),
      },
    },
    NodeProto: {
      fields: {
        input: field(1, "string", "repeated"),
        output: field(2, "string", "repeated"),
        name: field(3, "string"),
        opType: field(4, "string"),
        attribute: field(5, "AttributeProto", "repeated"),
        domain: field(7, "string"),
      },
    },
    AttributeProto: {
      fields: {
        name: field(1, "string"),
        f: field(2, "float"),
        i: field(3, "int64"),
        s: field(4, "bytes"),
        floats: { ...field(7, "float", "repeated") },
        ints: { ...field(8, "int64", "repeated") },
        type: field(20, "int32"),
      },
    },
    TensorProto: {
      fields: {
        dims: field(1, "int64", "repeated"),
        dataType: field(2, "int32"),
        name: field(8, "string"),
        rawData: field(9, "bytes"),
        externalData: field(13, "StringStringEntryProto", "repeated"),
        dataLocation: field(14, "int32"),
      },
    },
    StringStringEntryProto: { fields: { key: field(1, "string"), value: field(2, "string") } },
    ValueInfoProto: { fields: { name: field(1, "string"), type: field(2, "TypeProto") } },
    TypeProto: { fields: { tensorType: field(1, "TensorTypeProto") } },
    TensorTypeProto: { fields: { elemType: field(1, "int32"), shape: field(2, "TensorShapeProto") } },
    TensorShapeProto: { fields: { dim: field(1, "DimensionProto", "repeated") } },
    DimensionProto: { fields: { dimValue: field(1, "int64") } },
  },
});

const modelType = root.lookupType("ModelProto");

export interface TensorMessage {
  name: string;
  dims: readonly number[];
  dataType: number;
  rawData?: Uint8Array;
  externalData?: { key: string; value: string }[];
  dataLocation?: number;
}
export interface AttributeMessage {
  name: string;
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  ints?: readonly number[];
}
export interface NodeMessage {
  name: string;
  opType: string;
  domain: string;
  input: string[];
  output: string[];
  attribute: AttributeMessage[];
}
export interface ValueMessage {
  name: string;
  type: { tensorType: { elemType: number; shape: { dim: { /** Absent: any size. */ dimValue?: number }[] } } };
}
export interface GraphMessage {
  name: string;
  node: NodeMessage[];
  initializer: TensorMessage[];
  input: ValueMessage[];
  output: ValueMessage[];
}

/** Opset 20 of ONNX and opset 1 of ONNX Runtime's own operators; IR version 10. */
export function encodeModel(graph: GraphMessage): Uint8Array {
  const message = { irVersion: 10, producerName: "everlora", opsetImport: [{ domain: "", version: 20 }, { domain: "com.microsoft", version: 1 }], graph };
  return modelType.encode(modelType.fromObject(message)).finish();
}
