/** Seeded random numbers: everything that trains or samples draws from here, so that a seed repeats a run. Generator: sfc32 (Doty-Humphrey, PractRand). */
export interface Random {
  /** Uniform in [0, 1). */
  next(this: void): number;
  /** Standard normal (Box–Muller). */
  normal(): number;
  /** A new array in random order (Fisher–Yates). */
  shuffle<T>(list: readonly T[]): T[];
}

export function createRandom(seed: number): Random {
  let [a, b, c, d] = [0x9e3779b9, 0x243f6a88, 0xb7e15162, seed | 0];
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return (t >>> 0) / 4_294_967_296;
  };
  for (let round = 0; round < 16; round++) next();
  return {
    next,
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    shuffle: (list) => {
      const out = [...list];
      for (let at = out.length - 1; at > 0; at--) {
        const other = Math.floor(next() * (at + 1));
        const [x, y] = [out[at], out[other]];
        if (x !== undefined && y !== undefined) [out[at], out[other]] = [y, x];
      }
      return out;
    },
  };
}
