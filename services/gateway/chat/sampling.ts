/** The fields of a request that say how an answer is drawn: the same for chat and text completions, with the names of OpenAI and, beyond it, of vLLM. */
import { z } from "zod";
import type { Settings } from "../../../shared/config/settings.ts";
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { GenerateRequest } from "../engine/engine.ts";

const penalty = z.number().min(-2).max(2).nullish();
export const tokenLimit = z.int().min(1).max(1 << 24).nullish();

export const samplingShape = {
  n: z.int().min(1).max(128).nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(4)], { error: "a text, or a list of at most four" }).nullish(),
  seed: z.int().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  presence_penalty: penalty,
  frequency_penalty: penalty,
  repetition_penalty: z.number().min(0.01).max(10).nullish(),
  logit_bias: z.record(z.string(), z.number().min(-100).max(100)).refine((bias) => Object.keys(bias).every((token) => /^\d{1,9}$/.test(token)), { error: "a token is named by its number" }).nullish(),
} as const;
export type SamplingBody = z.infer<z.ZodObject<typeof samplingShape>>;

export interface Sampling {
  /** How many answers are wanted. */
  readonly n: number;
  readonly stop: readonly string[];
  readonly seed: number | undefined;
  readonly temperature: number;
  readonly topP: number;
  readonly body: SamplingBody;
}

/** @throws EverloraError invalid_request that names the field */
export function readSampling(body: SamplingBody, limits: Pick<Settings, "MAX_CHOICES">): Sampling {
  const n = body.n ?? 1;
  if (n > limits.MAX_CHOICES) throw new EverloraError("invalid_request", `n: ${n} answers were asked for; at most ${limits.MAX_CHOICES} are given.`, { param: "n", hint: "Ask for fewer, or raise MAX_CHOICES." });
  const stop = typeof body.stop === "string" ? [body.stop] : (body.stop ?? []);
  if (stop.includes("")) throw new EverloraError("invalid_request", "stop: a stop sequence is empty.", { param: "stop" });
  return { n, stop, seed: body.seed ?? undefined, temperature: body.temperature ?? 1, topP: body.top_p ?? 1, body };
}

/** @throws EverloraError invalid_request when more is asked for than MAX_COMPLETION_TOKENS */
export function checkTokenLimit(asked: number | undefined, param: string, { MAX_COMPLETION_TOKENS: most }: Pick<Settings, "MAX_COMPLETION_TOKENS">): void {
  if (asked !== undefined && asked > most) throw new EverloraError("invalid_request", `${param}: ${asked} tokens were asked for; at most ${most} are given.`, { param, hint: "Ask for fewer, or raise MAX_COMPLETION_TOKENS." });
}

/** For the engine, of the answer with this index: each has a seed of its own, so that they differ and can be had again. */
export function engineSampling({ stop, seed, temperature, topP, body }: Sampling, index: number): Pick<GenerateRequest, "stop" | "seed" | "temperature" | "topP" | "topK" | "minP" | "frequencyPenalty" | "presencePenalty" | "repetitionPenalty" | "logitBias"> {
  const { top_k: topK, min_p: minP, frequency_penalty: frequencyPenalty, presence_penalty: presencePenalty, repetition_penalty: repetitionPenalty, logit_bias: logitBias } = body;
  return {
    stop,
    temperature,
    topP,
    ...(seed === undefined ? {} : { seed: seed + index }),
    ...(typeof topK === "number" && topK > 0 ? { topK } : {}),
    ...(typeof minP === "number" ? { minP } : {}),
    ...(typeof frequencyPenalty === "number" && frequencyPenalty !== 0 ? { frequencyPenalty } : {}),
    ...(typeof presencePenalty === "number" && presencePenalty !== 0 ? { presencePenalty } : {}),
    ...(typeof repetitionPenalty === "number" && repetitionPenalty !== 1 ? { repetitionPenalty } : {}),
    ...(logitBias === null || logitBias === undefined || Object.keys(logitBias).length === 0 ? {} : { logitBias }),
  };
}
