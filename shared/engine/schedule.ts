/** How long a training takes and how fast it learns, as pure functions of its settings. */

export interface Schedule {
  /** Peak learning rate. */
  readonly learningRate: number;
  readonly schedule: "linear" | "cosine" | "constant";
  /** Below 1 a share of all steps, otherwise a number of steps. */
  readonly warmUp: number;
}

/**
 * Climbs linearly to the peak over the warm-up (PyTorch's LinearLR from 1/w on), then falls to zero along a line or half a cosine, or stays.
 * @param step from 0
 */
export function learningRateAt(step: number, steps: number, { learningRate: peak, schedule, warmUp }: Schedule): number {
  const climbing = Math.min(warmUp < 1 ? Math.ceil(steps * warmUp) : Math.round(warmUp), steps);
  if (step < climbing) return (peak * (step + 1)) / climbing;
  const gone = (step - climbing) / Math.max(1, steps - climbing);
  if (schedule === "constant") return peak;
  if (schedule === "linear") return peak * (1 - gone);
  return (peak * (1 + Math.cos(Math.PI * gone))) / 2;
}

/** Passes over a data set of so many rows when nobody said how many: the fewer rows, the more passes. */
export function epochsFor(rows: number, setting: number | "auto"): number {
  return setting === "auto" ? Math.min(Math.max(Math.round(10_000 / Math.max(rows, 1)), 1), 10) : setting;
}
