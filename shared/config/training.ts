/**
 * What may be said about a training run, value by value: the bounds that the environment, a domain's overrides, a trigger's `config` and a run's record
 * have in common. Not responsible for defaults (settings.ts) nor for which wins (shared/runs/new_run.ts).
 */
import { z } from "zod";
import { quantizations } from "../models/quantization.ts";

const integer = (least: number, most: number) => z.int().min(least).max(most);
const number = (least: number, most: number) => z.number().min(least).max(most);

/** The name of a linear layer (q_proj), or of a group of them (all-linear); which there are depends on the base model. */
export const targetSchema = z.string().regex(/^[A-Za-z_][\w.-]{0,63}$/, "must be the name of a linear layer, as q_proj, or all-linear, attention or mlp");

/** By the name that a trigger's `config` has for it. */
export const trainingValues = {
  rank: integer(1, 256),
  alpha: number(0.001, 1_024),
  rslora: z.boolean(),
  dropout: number(0, 0.9),
  targets: z.array(targetSchema).min(1).max(64),
  epochs: z.union([z.literal("auto"), integer(1, 100)]),
  learning_rate: number(1e-8, 1),
  schedule: z.enum(["linear", "cosine", "constant"]),
  /** Below 1 a share of the steps, otherwise their number. */
  warmup: number(0, 1_000_000),
  weight_decay: number(0, 1),
  /** 0 = never. */
  clip_norm: number(0, 1_000),
  sequence_length: integer(32, 131_072),
  batch_size: integer(1, 1_024),
  accumulation: integer(1, 1_024),
  evaluation: z.union([z.enum(["epoch", "end"]), integer(1, 1_000_000)]),
  /** 0 = never stop early. */
  patience: integer(0, 1_000),
  start: z.enum(["base", "live"]),
  replay: number(0, 1),
  gradient_checkpointing: z.enum(["auto", "on", "off"]),
  quantization: z.enum(quantizations),
  seed: integer(0, 2 ** 31 - 1),
};
