/** Reads the part of a weights file that a tensor stands for. Compiled graphs map it instead. */
import { closeSync, openSync, readSync } from "node:fs";
import { arrayOf, sizeOf, type DType, type Shape, type Source, type TypedArray } from "./graph.ts";

export function readRegion(source: Source & { readonly kind: "file" }, shape: Shape, dtype: DType): TypedArray {
  const values = new arrayOf[dtype](sizeOf(shape));
  if (source.bytes !== values.byteLength) throw new RangeError(`a region of ${source.bytes} bytes for a tensor of ${values.byteLength}`);
  const file = openSync(source.path, "r");
  try {
    const bytes = new Uint8Array(values.buffer);
    for (let at = 0; at < bytes.length; ) {
      const taken = readSync(file, bytes, at, Math.min(bytes.length - at, 1 << 30), source.offset + at);
      if (taken === 0) throw new RangeError(`${source.path} ends before byte ${source.offset + source.bytes}`);
      at += taken;
    }
  } finally {
    closeSync(file);
  }
  return values;
}
