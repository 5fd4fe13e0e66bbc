/**
 * What the gateway and its engine child say to each other over the fork channel, as zod schemas: both ends parse what they receive.
 * The rules that the types can't say:
 * - The child sends `ready` once, before anything else, or `fatal` when it can never become ready (a bad model folder), and then exits.
 * - Every message with an `id` is answered under that id: `load` by `loaded` or `failed`, `unload` by `unloaded` or `failed`, `generate` by any
 *   number of `token` and then one `done` or `failed`, `score` by `scored` or `failed`, `embed` by `embedded` or `failed`. Nothing follows a
 *   `done`, `scored`, `embedded` or `failed` of its id.
 * - `abort` is answered by the job's own `done` with finishReason `abort`; an abort for an id that ended already is ignored.
 * - The child decodes all generations together, a token each at a time, and exits when the channel closes (`disconnect`).
 * - A generation is loaded once however many jobs use it. `unload` is answered when the last job that uses it has ended.
 * - `token.text` is whole Unicode text (bytes of an unfinished character are held back), never contains a stop sequence or a part that grew
 *   into one, and may be longer or shorter than one token of the model.
 */
import { z } from "zod";
import { messageSchema } from "../../../shared/events/conversation.ts";
import { generationSchema } from "../../../shared/events/streams.ts";

const id = z.string().min(1).max(64);
const penalty = z.number().min(-2).max(2).optional();

const loadSchema = z.object({
  type: z.literal("load"),
  id,
  generation: generationSchema,
  /** A PEFT folder whose hashes were verified just before. */
  folder: z.string(),
});

const unloadSchema = z.object({ type: z.literal("unload"), id, generation: generationSchema });

/** What the whole answer must be: any JSON object, or JSON of a schema (engine/json says which schemas). The child refuses what it can't keep to. */
const responseFormatSchema = z.discriminatedUnion("type", [z.object({ type: z.literal("json_object") }), z.object({ type: z.literal("json_schema"), schema: z.record(z.string(), z.unknown()) })]);
export type ResponseFormat = z.infer<typeof responseFormatSchema>;

const promptSchema = z.object({
  /** The prompt, oldest first; roles are system, user and assistant only, contents are plain text. */
  messages: z.array(messageSchema).min(1).optional(),
  /** Raw text in place of messages, without the chat template: for /v1/completions. Exactly one of the two. */
  prompt: z.string().min(1).optional(),
});

const generateFields = promptSchema.extend({
  type: z.literal("generate"),
  id,
  /** null: the base without an adapter. Was loaded before, or the job fails with `adapter_not_found`. */
  generation: generationSchema.nullable(),
  /** Upper bound; the child lowers it to what the prompt leaves of the context. A prompt that leaves nothing fails with `context_length_exceeded`. */
  maxTokens: z.int().min(1),
  /** 0 = greedy. */
  temperature: z.number().min(0).max(2),
  topP: z.number().min(0).max(1),
  /** With the same seed, prompt and generation the child answers the same, whatever else runs beside it. */
  seed: z.int().optional(),
  stop: z.array(z.string().min(1)).max(4),
  /** Only the k likeliest tokens; 0 or absent = all. */
  topK: z.int().min(0).optional(),
  /** Only tokens with at least this share of the likeliest one's probability. */
  minP: z.number().min(0).max(1).optional(),
  /** OpenAI's: taken off a token's logit for each time, or once for any time, that it stands in the answer so far. */
  frequencyPenalty: penalty,
  presencePenalty: penalty,
  /** transformers': divides the logits (multiplies negative ones) of tokens that stand in the prompt or the answer; 1 or absent = none. */
  repetitionPenalty: z.number().min(0.01).max(10).optional(),
  /** Token id → what is added to its logit. */
  logitBias: z.record(z.string().regex(/^\d+$/), z.number().min(-100).max(100)).optional(),
  /** Absent or null: none. Otherwise each token comes with its log-probability and those of so many likeliest alternatives. */
  logprobs: z.int().min(0).max(20).nullable().optional(),
  responseFormat: responseFormatSchema.nullable().optional(),
});
const generateSchema = generateFields.refine(({ messages, prompt }) => (messages === undefined) !== (prompt === undefined), { error: "exactly one of messages and prompt must be there" });

const scoreSchema = z.object({
  type: z.literal("score"),
  id,
  /** The last one is the assistant's reference answer; only its tokens are scored. */
  messages: z.array(messageSchema).min(2),
  generation: generationSchema.nullable(),
});

/** Sentence embeddings by the model of EMBEDDING_MODEL; fails with `engine_failed` where none is set. */
const embedSchema = z.object({ type: z.literal("embed"), id, texts: z.array(z.string()).min(1).max(2_048) });

export const toChildSchema = z.discriminatedUnion("type", [loadSchema, unloadSchema, generateSchema, z.object({ type: z.literal("abort"), id }), scoreSchema, embedSchema]);
export type ToChild = z.infer<typeof toChildSchema>;

const modelSchema = z.object({
  /** As /v1/models shows it: the folder's last path segment. */
  name: z.string().min(1),
  /** Over the model's files: the identity that adapters and cache keys are bound to. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Positions, prompt and answer together. */
  contextLength: z.int().min(1),
  parameters: z.int().min(0),
});
export type EngineModel = z.infer<typeof modelSchema>;

const count = z.int().min(0);

const alternativeSchema = z.object({
  /** The token's own text; bytes that are no whole character show as U+FFFD. */
  token: z.string(),
  /** Natural logarithm of its probability by the model, before temperature and whatever else shapes the draw. */
  logprob: z.number(),
  bytes: z.array(z.int().min(0).max(255)).nullable(),
});
/** One token as OpenAI's `logprobs.content` has it. */
const tokenLogprobSchema = alternativeSchema.extend({ top_logprobs: z.array(alternativeSchema) });
export type TokenLogprob = z.infer<typeof tokenLogprobSchema>;

export const fromChildSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("ready"), device: z.string(), /** Why this device. */ reason: z.string(), model: modelSchema }),
  z.object({ type: z.literal("loaded"), id, milliseconds: z.number().min(0), bytes: count }),
  z.object({ type: z.literal("unloaded"), id }),
  /** `logprobs` are of the tokens whose text this is, where they were asked for: text and logprobs of a held-back piece come together. */
  z.object({ type: z.literal("token"), id, text: z.string(), logprobs: z.array(tokenLogprobSchema).optional() }),
  /** `cachedTokens`: how many of the prompt's tokens were not computed, because an earlier request had begun with the same ones. */
  z.object({ type: z.literal("done"), id, finishReason: z.enum(["stop", "length", "abort"]), promptTokens: count, completionTokens: count, cachedTokens: count }),
  /** Mean loss in nats a token over the reference answer's tokens. */
  z.object({ type: z.literal("scored"), id, loss: z.number(), tokens: count }),
  z.object({ type: z.literal("embedded"), id, vectors: z.array(z.array(z.number())), dimension: count, tokens: count }),
  /** Told after changes, at most once a second: what the child holds. */
  z.object({ type: z.literal("stats"), prefixBytes: count, prefixEntries: count }),
  /** `code` is one of shared/errors' table; an unknown one counts as `engine_failed`. `param`: the request's field that is at fault. */
  z.object({ type: z.literal("failed"), id, error: z.object({ code: z.string(), message: z.string(), param: z.string().optional(), hint: z.string().optional() }) }),
  z.object({ type: z.literal("fatal"), error: z.object({ code: z.string(), message: z.string(), hint: z.string() }) }),
]);
export type FromChild = z.infer<typeof fromChildSchema>;
