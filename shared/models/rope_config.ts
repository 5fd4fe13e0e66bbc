/**
 * The rotary settings of a config.json, in the old form (rope_theta, rope_scaling, rope_local_base_freq) and in the one of transformers 5
 * (rope_parameters, by kind of layer or for all). Formulas of the scalings: transformers' modeling_rope_utils.py, where the papers are named.
 */
import { z } from "zod";
import { describeIssues } from "../errors/errors.ts";
import { configFault } from "./config.ts";

const factor = z.number().min(1);
const positions = z.number().int().positive();
/** One factor per frequency. */
const factors = z.array(z.unknown()).max(512).pipe(z.array(z.number().positive()));

const scalingSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("default") }),
  z.object({ type: z.literal("linear"), factor }),
  // Takes effect only beyond max_position_embeddings, which no sequence of ours leaves.
  z.object({ type: z.literal("dynamic"), factor }),
  z.object({ type: z.literal("llama3"), factor, low_freq_factor: z.number().positive(), high_freq_factor: z.number().positive(), original_max_position_embeddings: positions }).refine((s) => s.high_freq_factor > s.low_freq_factor, "high_freq_factor must be above low_freq_factor"),
  z.object({
    type: z.literal("yarn"),
    factor,
    original_max_position_embeddings: positions,
    attention_factor: z.number().positive().nullish(),
    beta_fast: z.number().positive().nullish(),
    beta_slow: z.number().positive().nullish(),
    mscale: z.number().nullish(),
    mscale_all_dim: z.number().nullish(),
    truncate: z.boolean().nullish(),
  }),
  z.object({ type: z.literal("longrope"), factor: factor.nullish(), original_max_position_embeddings: positions, attention_factor: z.number().positive().nullish(), short_factor: factors, long_factor: factors }),
]);
export type RopeScaling = z.infer<typeof scalingSchema>;

export interface Rope {
  readonly theta: number;
  /** How many elements of a head turn; the others pass. Even. */
  readonly size: number;
  /** Cosine and sine are multiplied by it. */
  readonly magnitude: number;
  readonly scaling: RopeScaling;
}

/** The fields of config.json that matter here. */
export const ropeFields = {
  rope_theta: z.number().positive().nullish(),
  rope_local_base_freq: z.number().positive().nullish(),
  rope_scaling: z.looseObject({}).nullish(),
  rope_parameters: z.looseObject({}).nullish(),
  partial_rotary_factor: z.number().positive().max(1).nullish(),
  original_max_position_embeddings: positions.nullish(),
};
export type RopeFields = z.infer<z.ZodObject<typeof ropeFields>>;

export interface RopeRules {
  readonly headSize: number;
  readonly contextLength: number;
  readonly defaultTheta: number;
  /** Phi-3 turns only a part of each head, and means longrope when it says yarn or su. */
  readonly phi: boolean;
}

/**
 * @param given the settings of this kind of layer: rope_scaling, or (a part of) rope_parameters
 * @throws EverloraError invalid_model_folder naming the setting that is wrong or not supported
 */
export function parseRope(where: string, fields: RopeFields, given: Readonly<Record<string, unknown>>, theta: number | null | undefined, rules: RopeRules): Rope {
  const said = given["rope_type"] ?? given["type"] ?? "default";
  const type = rules.phi && (said === "su" || said === "yarn") ? "longrope" : said;
  // What the config says outside goes before: Phi-3 has the trained length there.
  const original = fields.original_max_position_embeddings ?? given["original_max_position_embeddings"] ?? rules.contextLength;
  const scaling = scalingSchema.safeParse({ ...given, type, original_max_position_embeddings: original });
  if (!scaling.success) {
    const known = scalingSchema.options.map((option) => [...option.shape.type.values][0]);
    if (!known.some((name) => name === type)) throw configFault(where, `rope_scaling of type ${JSON.stringify(said)} is not supported; supported: ${known.join(", ")}`, "rope_scaling");
    throw configFault(where, `rope_scaling: ${describeIssues(scaling.error.issues, "rope_scaling")}`, "rope_scaling");
  }
  const base = z.number().positive().nullish().safeParse(given["rope_theta"] ?? theta);
  if (!base.success) throw configFault(where, "rope_theta is no positive number", "rope_theta");
  const part = z.number().positive().max(1).safeParse(given["partial_rotary_factor"] ?? fields.partial_rotary_factor ?? 1);
  if (!part.success) throw configFault(where, "partial_rotary_factor is no number between 0 and 1", "partial_rotary_factor");
  if (part.data !== 1 && !rules.phi) throw configFault(where, `partial_rotary_factor ${part.data} is not supported for this family`, "partial_rotary_factor");
  const size = Math.trunc(rules.headSize * part.data);
  if (size < 2 || size % 2 !== 0) throw configFault(where, `partial_rotary_factor ${part.data} of a head of ${rules.headSize} gives no even number of elements to turn`, "partial_rotary_factor");
  const s = scaling.data;
  if (s.type === "longrope") {
    for (const name of ["short_factor", "long_factor"] as const) {
      if (s[name].length !== size / 2) throw configFault(where, `rope_scaling: ${name} has ${s[name].length} factors, half of ${size} turned elements are needed`, "rope_scaling");
    }
  }
  const rope = { theta: base.data ?? rules.defaultTheta, size, magnitude: magnitudeOf(s, rules.contextLength), scaling: s };
  // Logarithms of what a strange config says can be of 1 or less.
  if (!Number.isFinite(rope.magnitude) || !frequenciesOf(rope).every(Number.isFinite)) throw configFault(where, "rope_scaling gives angles that are no numbers", "rope_scaling");
  return rope;
}

function magnitudeOf(s: RopeScaling, contextLength: number): number {
  if (s.type === "yarn") {
    const grown = (mscale: number) => (s.factor <= 1 ? 1 : 0.1 * mscale * Math.log(s.factor) + 1);
    if (s.attention_factor != null) return s.attention_factor;
    return s.mscale && s.mscale_all_dim ? grown(s.mscale) / grown(s.mscale_all_dim) : grown(1);
  }
  if (s.type !== "longrope") return 1;
  const stretched = s.factor ?? contextLength / s.original_max_position_embeddings;
  return s.attention_factor ?? (stretched <= 1 ? 1 : Math.sqrt(1 + Math.log(stretched) / Math.log(s.original_max_position_embeddings)));
}

/** Angle per position of each pair of elements [size / 2]. Holds up to `longestOf`. */
export function frequenciesOf(rope: Rope): Float32Array {
  const { scaling: s, size, theta } = rope;
  const plain = Array.from({ length: size / 2 }, (_, at) => theta ** ((-2 * at) / size));
  return Float32Array.from(plain, (frequency, at) => {
    switch (s.type) {
      case "linear":
        return frequency / s.factor;
      case "llama3":
        return llama3(frequency, s);
      case "yarn":
        return yarn(frequency, at, rope, s);
      case "longrope":
        return frequency / (s.short_factor[at] ?? 1);
      case "default":
      case "dynamic":
        return frequency;
    }
  });
}

/**
 * The longest sequence that these settings turn by one set of angles. longrope turns a sequence that outgrows the trained length by other angles, all of
 * it: every key that was cached would be wrong, and what a conversation's beginning gives would depend on how it ends. So such a model's context ends there.
 */
export function longestOf({ scaling }: Rope, contextLength: number): number {
  return scaling.type === "longrope" ? Math.min(contextLength, scaling.original_max_position_embeddings) : contextLength;
}

/** Long waves are stretched, short ones stay, those between are mixed. */
function llama3(frequency: number, s: Extract<RopeScaling, { type: "llama3" }>): number {
  const turns = (s.original_max_position_embeddings * frequency) / (2 * Math.PI);
  if (turns > s.high_freq_factor) return frequency;
  if (turns < s.low_freq_factor) return frequency / s.factor;
  const smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return ((1 - smooth) * frequency) / s.factor + smooth * frequency;
}

/** Peng et al. 2023: a ramp over the pairs, from those that turn often (kept) to those that hardly turn (stretched). */
function yarn(frequency: number, at: number, { theta, size }: Rope, s: Extract<RopeScaling, { type: "yarn" }>): number {
  const pairOf = (rotations: number) => (size * Math.log(s.original_max_position_embeddings / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const whole = s.truncate ?? true;
  // `||`: transformers takes 0 for unset as well.
  const [first, last] = [pairOf(s.beta_fast || 32), pairOf(s.beta_slow || 1)];
  const low = Math.max(whole ? Math.floor(first) : first, 0);
  const high = Math.min(whole ? Math.ceil(last) : last, size - 1);
  const ramp = Math.min(Math.max((at - low) / (high === low ? 0.001 : high - low), 0), 1);
  return (frequency / s.factor) * ramp + frequency * (1 - ramp);
}
