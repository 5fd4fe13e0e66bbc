/** What an adapter can be written as. A new form is a file beside this and a row here. */
import { writeFileAtomic } from "../files/atomic.ts";
import type { ModelFolder } from "../models/folder.ts";
import type { Adapter } from "../peft/adapter.ts";
import { encodeGgufAdapter } from "./gguf.ts";
import { writeMergedFolder } from "./merged_folder.ts";
import { writeOnnx } from "./onnx.ts";

interface ExportFormat {
  readonly about: string;
  /** @throws EverloraError adapter_incompatible, invalid_model_folder */
  write(this: void, out: string, base: ModelFolder, adapter: Adapter): Promise<void>;
}

export const exportFormats = {
  merged: { about: "a folder of base and adapter in one", write: writeMergedFolder },
  gguf: { about: "a file for llama.cpp's --lora", write: (out, base, adapter) => writeFileAtomic(out, encodeGgufAdapter(adapter, base.config)) },
  onnx: { about: "a folder with base and adapter in one for ONNX Runtime", write: writeOnnx },
} as const satisfies Record<string, ExportFormat>;

export const isExportFormat = (name: string): name is keyof typeof exportFormats => Object.hasOwn(exportFormats, name);
