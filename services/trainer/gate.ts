/**
 * The gate: does an adapter go live? A pure function from losses to a decision, with one sentence a rule, so that a person can check it.
 *
 * An adapter must beat the base and the adapter that is live on the held-out rows, and must not be much worse on the general set. "Beat" means
 * measurably: the same rows are scored by both, so the differences are paired row by row, which takes the rows' own difficulty out of the
 * comparison; the mean difference, weighted by tokens, must lie below zero by more than chance explains (one-sided, 95 %, Student's t).
 */
import { EverloraError } from "../../shared/errors/errors.ts";
import type { Gate } from "../../shared/runs/run.ts";
import type { TrainerOutput } from "./trainers/trainer.ts";

export type Evaluation = Pick<TrainerOutput, "heldOut" | "general">;

interface Rule {
  readonly passed: boolean;
  readonly sentence: string;
}

/**
 * @param tolerance how much worse, in nats a token, the adapter may be on the general set
 * @throws EverloraError training_failed when a loss is not a number, or the lists don't belong together: then there is nothing to decide on
 */
export function gate(evaluation: Evaluation, tolerance: number): Gate {
  const { heldOut, general } = evaluation;
  const { perRow } = heldOut;
  requireNumbers(evaluation);
  const rules = [beats("the base", perRow.adapter, perRow.base, perRow.tokens)];
  if (perRow.live !== null) rules.push(beats("the live adapter", perRow.adapter, perRow.live, perRow.tokens));
  rules.push(keepsGeneral(general, tolerance));
  return {
    decision: rules.every((rule) => rule.passed) ? "publish" : "reject",
    reasons: rules.map((rule) => rule.sentence),
    heldOut: { base: heldOut.base, live: heldOut.live, adapter: heldOut.adapter, rows: heldOut.rows, tokens: heldOut.tokens },
    general: { ...general, tolerance },
  };
}

function beats(whom: string, adapter: readonly number[], other: readonly number[], tokens: readonly number[]): Rule {
  const pair = pairedDifference(adapter, other, tokens);
  const losses = `Held-out loss ${digits(pair.mean)} against ${digits(pair.otherMean)} of ${whom}`;
  const size = `${pair.rows} rows, ${pair.tokens} tokens`;
  if (pair.rows < 2) return { passed: false, sentence: `${losses} (${size}): rejected, because one row has no spread that chance could be judged by.` };
  const needed = studentT95(pair.rows - 1) * pair.standardError;
  const passed = -pair.difference > needed;
  const direction = pair.difference <= 0 ? `${digits(-pair.difference)} better` : `${digits(pair.difference)} worse`;
  return {
    passed,
    sentence: `${losses}: ${direction}, standard error ${digits(pair.standardError)} (${size}); more than ${digits(needed)} better is needed: ${passed ? "passed" : "rejected"}.`,
  };
}

function keepsGeneral(general: Evaluation["general"], tolerance: number): Rule {
  const worse = general.adapter - general.base;
  const passed = worse <= tolerance;
  const direction = worse <= 0 ? `${digits(-worse)} better` : `${digits(worse)} worse`;
  return {
    passed,
    sentence: `General loss ${digits(general.adapter)} against ${digits(general.base)} of the base: ${direction} (${general.rows} rows, ${general.tokens} tokens); at most ${digits(tolerance)} worse is allowed: ${passed ? "passed" : "rejected"}.`,
  };
}

export interface PairedDifference {
  /** Mean of a, of b, and of a - b, each weighted by tokens. */
  readonly mean: number;
  readonly otherMean: number;
  readonly difference: number;
  /** Of `difference`, as that of a ratio of sums over independent rows. 0 with fewer than two rows. */
  readonly standardError: number;
  /** Rows that have tokens at all. */
  readonly rows: number;
  readonly tokens: number;
}

/** Losses of the same rows by two models, compared row by row. */
export function pairedDifference(a: readonly number[], b: readonly number[], tokens: readonly number[]): PairedDifference {
  const rows = tokens.flatMap((weight, index) => (weight > 0 ? [{ weight, a: a[index] ?? NaN, b: b[index] ?? NaN }] : []));
  const total = rows.reduce((sum, row) => sum + row.weight, 0);
  if (total === 0) return { mean: NaN, otherMean: NaN, difference: NaN, standardError: 0, rows: 0, tokens: 0 };
  const mean = rows.reduce((sum, row) => sum + row.weight * row.a, 0) / total;
  const otherMean = rows.reduce((sum, row) => sum + row.weight * row.b, 0) / total;
  const difference = rows.reduce((sum, row) => sum + row.weight * (row.a - row.b), 0) / total;
  const squares = rows.reduce((sum, row) => sum + (row.weight * (row.a - row.b - difference)) ** 2, 0);
  const standardError = rows.length < 2 ? 0 : Math.sqrt((rows.length / (rows.length - 1)) * squares) / total;
  return { mean, otherMean, difference, standardError, rows: rows.length, tokens: total };
}

/** 95th percentile of Student's t. Exact to three digits: a table where the tail is heavy, the Cornish-Fisher expansion beyond. */
export function studentT95(degreesOfFreedom: number): number {
  const heavy = [6.314, 2.92, 2.353, 2.132, 2.015, 1.943, 1.895, 1.86, 1.833];
  const tabled = heavy[degreesOfFreedom - 1];
  return tabled ?? 1.6449 + 1.5238 / degreesOfFreedom + 1.42 / degreesOfFreedom ** 2;
}

function requireNumbers({ heldOut, general }: Evaluation): void {
  const { base, adapter, live, tokens } = heldOut.perRow;
  if (base.length !== tokens.length || adapter.length !== tokens.length || (live !== null && live.length !== tokens.length)) {
    throw new EverloraError("training_failed", `The evaluation is not whole: ${tokens.length} held-out rows, but ${base.length} losses of the base, ${adapter.length} of the adapter, ${live?.length ?? "no"} of the live adapter.`);
  }
  const named: [string, readonly number[]][] = [
    ["held-out loss of the base", [heldOut.base, ...base]],
    ["held-out loss of the live adapter", live === null ? [] : [heldOut.live ?? NaN, ...live]],
    ["held-out loss of the adapter", [heldOut.adapter, ...adapter]],
    ["general loss of the base", [general.base]],
    ["general loss of the adapter", [general.adapter]],
  ];
  for (const [name, values] of named) {
    const odd = values.find((value) => !Number.isFinite(value));
    if (odd !== undefined) throw new EverloraError("training_failed", `The ${name} is ${odd}: the training diverged or the model is damaged.`, { hint: "Lower LEARNING_RATE (or config.learning_rate of the trigger) and try again." });
  }
  if (!tokens.some((count) => count > 0)) throw new EverloraError("training_failed", "No held-out row has a token that carries loss, so the adapter can't be tested.");
}

const digits = (value: number) => value.toFixed(4);
