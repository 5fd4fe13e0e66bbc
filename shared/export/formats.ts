/** What an adapter can be written as. A new form is a file beside this and a row here; it is loaded when it is written. */
import type { ModelFolder } from "../models/folder.ts";
import type { Adapter } from "../peft/adapter.ts";

interface ExportFormat {
  readonly about: string;
  /** @throws EverloraError adapter_incompatible, invalid_model_folder */
  write(this: void, out: string, base: ModelFolder, adapter: Adapter): Promise<void>;
}

export const exportFormats = {
  merged: { about: "a folder of base and adapter in one", write: async (out, base, adapter) => (await import("./merged_folder.ts")).writeMergedFolder(out, base, adapter) },
  gguf: { about: "a file for llama.cpp's --lora", write: async (out, base, adapter) => (await import("../files/atomic.ts")).writeFileAtomic(out, (await import("./gguf.ts")).encodeGgufAdapter(adapter, base.config)) },
  onnx: { about: "a folder with base and adapter in one for ONNX Runtime", write: async (out, base, adapter) => (await import("./onnx.ts")).writeOnnx(out, base, adapter) },
} as const satisfies Record<string, ExportFormat>;

export const isExportFormat = (name: string): name is keyof typeof exportFormats => Object.hasOwn(exportFormats, name);
