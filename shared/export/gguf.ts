/**
 * An adapter as a GGUF file, as llama.cpp's convert_lora_to_gguf writes it (GGUF version 3: ggml/docs/gguf.md). llama.cpp applies
 * alpha / rank · B · A, with one alpha for the whole file, to weights whose names and order of rows are its own.
 */
import { EverloraError } from "../errors/errors.ts";
import type { ModelConfig } from "../models/config.ts";
import type { Adapter } from "../peft/adapter.ts";

const alignment = 32;
const magic = 0x46554747; // "GGUF"
const types = { uint32: 4, float32: 6, string: 8 } as const;
const ggmlFloat32 = 0;

/** Hugging Face's families by llama.cpp's architecture; `turned`: its converter reorders the rows of query and key for the other layout of rotary halves. */
const architectures: Readonly<Record<string, { readonly name: string; readonly turned: boolean } | undefined>> = {
  llama: { name: "llama", turned: true },
  mistral: { name: "llama", turned: true },
  qwen2: { name: "qwen2", turned: false },
  qwen3: { name: "qwen3", turned: false },
  gemma2: { name: "gemma2", turned: false },
  gemma3_text: { name: "gemma3", turned: false },
  phi3: { name: "phi3", turned: false },
};

const tensorNames: Readonly<Record<string, string | undefined>> = {
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.qkv_proj": "attn_qkv",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.gate_up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

interface GgufTensor {
  readonly name: string;
  /** As GGML counts: the fastest side first. */
  readonly sides: readonly number[];
  readonly values: Float32Array;
}

/** The file's bytes. @throws EverloraError adapter_incompatible when llama.cpp has no such architecture or tensor */
export function encodeGgufAdapter({ config, modules }: Adapter, model: ModelConfig): Uint8Array {
  const architecture = architectures[model.modelType];
  if (architecture === undefined) throw new EverloraError("adapter_incompatible", `There is no GGUF architecture for model_type ${JSON.stringify(model.modelType)}.`, { param: "format", hint: `Models that can be written: ${Object.keys(architectures).join(", ")}.` });
  const alpha = config.lora_alpha;
  const tensors = [...modules].flatMap(([name, { A, B, rank, scale, inputs, outputs }]): GgufTensor[] => {
    const [, layer, projection = ""] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
    const called = tensorNames[projection];
    if (called === undefined || layer === undefined) throw new EverloraError("adapter_incompatible", `GGUF has no name for the module ${name}.`, { param: "format" });
    // llama.cpp will multiply by alpha / rank, whatever this module's own scale is.
    const factor = (scale * rank) / alpha;
    const heads = called === "attn_q" ? model.heads : called === "attn_k" ? model.keyValueHeads : null;
    const rows = architecture.turned && heads !== null ? turnedRows(B, outputs, rank, heads) : B;
    return [
      { name: `blk.${layer}.${called}.weight.lora_a`, sides: [inputs, rank], values: A },
      { name: `blk.${layer}.${called}.weight.lora_b`, sides: [rank, outputs], values: factor === 1 ? rows : rows.map((value) => value * factor) },
    ];
  });
  return encode([["general.type", "string", "adapter"], ["general.architecture", "string", architecture.name], ["general.name", "string", "everlora"], ["general.alignment", "uint32", alignment], ["adapter.type", "string", "lora"], ["adapter.lora.alpha", "float32", alpha]], tensors);
}

/** Within each head: the two halves' rows, one of each in turn. */
function turnedRows(B: Float32Array, outputs: number, rank: number, heads: number): Float32Array {
  const size = outputs / heads;
  const turned = new Float32Array(B.length);
  for (let row = 0; row < outputs; row++) {
    const [head, within] = [Math.floor(row / size), row % size];
    const target = head * size + (within % (size / 2)) * 2 + Math.floor(within / (size / 2));
    turned.set(B.subarray(row * rank, (row + 1) * rank), target * rank);
  }
  return turned;
}

type Entry = readonly [key: string, type: "string", value: string] | readonly [key: string, type: "uint32" | "float32", value: number];

function encode(entries: readonly Entry[], tensors: readonly GgufTensor[]): Uint8Array {
  const parts: Buffer[] = [];
  const u32 = (value: number) => void parts.push(bytes(4, (buffer) => buffer.writeUInt32LE(value)));
  const u64 = (value: number) => void parts.push(bytes(8, (buffer) => buffer.writeBigUInt64LE(BigInt(value))));
  const text = (value: string) => {
    u64(Buffer.byteLength(value));
    parts.push(Buffer.from(value));
  };
  u32(magic);
  u32(3);
  u64(tensors.length);
  u64(entries.length);
  for (const [key, type, value] of entries) {
    text(key);
    u32(types[type]);
    if (typeof value === "string") text(value);
    else if (type === "uint32") u32(value);
    else parts.push(bytes(4, (buffer) => buffer.writeFloatLE(value)));
  }
  let offset = 0;
  for (const { name, sides, values } of tensors) {
    text(name);
    u32(sides.length);
    for (const side of sides) u64(side);
    u32(ggmlFloat32);
    u64(offset);
    offset = aligned(offset + values.byteLength);
  }
  const header = Buffer.concat(parts);
  const start = aligned(header.length);
  const file = Buffer.alloc(start + offset);
  header.copy(file);
  let at = start;
  for (const { values } of tensors) {
    file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at = start + aligned(at - start + values.byteLength);
  }
  return file;
}

const aligned = (value: number) => Math.ceil(value / alignment) * alignment;
function bytes(length: number, write: (buffer: Buffer) => void): Buffer {
  const buffer = Buffer.alloc(length);
  write(buffer);
  return buffer;
}
