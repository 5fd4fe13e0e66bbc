/** float16 and bfloat16 ↔ float32, on whole arrays. IEEE 754 binary16, round to nearest even. */

const scratch = new Float32Array(1);
const bits = new Uint32Array(scratch.buffer);
const fromHalf = makeTable();

export function float16ToFloat32(source: Uint16Array): Float32Array {
  const out = new Float32Array(source.length);
  for (let at = 0; at < source.length; at++) out[at] = fromHalf[source[at] ?? 0] ?? 0;
  return out;
}

export function bfloat16ToFloat32(source: Uint16Array): Float32Array {
  const out = new Uint32Array(source.length);
  for (let at = 0; at < source.length; at++) out[at] = (source[at] ?? 0) << 16;
  return new Float32Array(out.buffer);
}

export function float32ToFloat16(source: Float32Array): Uint16Array {
  const out = new Uint16Array(source.length);
  for (let at = 0; at < source.length; at++) out[at] = toHalf(source[at] ?? 0);
  return out;
}

function toHalf(value: number): number {
  scratch[0] = value;
  const word = bits[0] ?? 0;
  const sign = (word >>> 16) & 0x8000;
  const exponent = (word >>> 23) & 0xff;
  const fraction = word & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200);
  const half = exponent - 112;
  if (half >= 31) return sign | 0x7c00;
  if (half <= 0) {
    if (half < -10) return sign;
    return sign | roundShift(fraction | 0x800000, 14 - half);
  }
  // A fraction that rounds up to 1 carries into the exponent by itself, up to infinity.
  return sign | ((half << 10) + roundShift(fraction, 13));
}

function roundShift(value: number, by: number): number {
  const kept = value >>> by;
  const rest = value & ((1 << by) - 1);
  const middle = 1 << (by - 1);
  return kept + (rest > middle || (rest === middle && (kept & 1) === 1) ? 1 : 0);
}

function makeTable(): Float32Array {
  return Float32Array.from({ length: 65_536 }, (_, half) => {
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >>> 10) & 31;
    const fraction = half & 0x3ff;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  });
}
