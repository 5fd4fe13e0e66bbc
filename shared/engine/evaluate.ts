/** Mean loss of each example, measured in packed batches. */
import { fit, packSequences, toBatch, type Batch, type Example } from "./pack.ts";

export interface ExampleLoss {
  /** Mean over the example's trained tokens, nats. */
  readonly loss: number;
  readonly tokens: number;
}

/**
 * @param run gives the loss of each position of a batch, 0 where nothing is trained
 * @returns one entry per example; null where truncation left nothing to measure
 */
export async function evaluate(examples: readonly Example[], shape: { rows: number; length: number }, run: (batch: Batch) => Promise<Float32Array>): Promise<(ExampleLoss | null)[]> {
  const kept = examples.map((example) => fit([example], shape.length).fitted[0]);
  const results = new Map<Example, ExampleLoss>();
  const sequences = packSequences(kept.filter((example) => example !== undefined), shape.length);
  for (let from = 0; from < sequences.length; from += shape.rows) {
    const group = sequences.slice(from, from + shape.rows);
    const batch = toBatch(group, shape.rows, shape.length);
    const losses = await run(batch);
    group.forEach((members, row) => members.forEach((example, member) => results.set(example, sumSegment(losses, batch, row, member + 1))));
  }
  return kept.map((example) => (example === undefined ? null : (results.get(example) ?? null)));
}

function sumSegment(losses: Float32Array, batch: Batch, row: number, segment: number): ExampleLoss {
  let [sum, tokens] = [0, 0];
  for (let at = row * batch.length; at < (row + 1) * batch.length; at++) {
    if (batch.segments[at] !== segment || batch.weights[at] !== 1) continue;
    sum += losses[at] ?? 0;
    tokens++;
  }
  return { loss: sum / Math.max(tokens, 1), tokens };
}

/** Mean over all tokens of all examples. */
export function meanLoss(losses: readonly (ExampleLoss | null)[]): { loss: number; tokens: number; rows: number } {
  const measured = losses.filter((entry) => entry !== null);
  const tokens = measured.reduce((sum, entry) => sum + entry.tokens, 0);
  const total = measured.reduce((sum, entry) => sum + entry.loss * entry.tokens, 0);
  return { loss: tokens === 0 ? NaN : total / tokens, tokens, rows: measured.length };
}
