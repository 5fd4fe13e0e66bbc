/**
 * What the gateway and its engine child say to each other over the fork channel, as zod schemas: both ends parse what they receive.
 * The rules that the types can't say:
 * - The child sends `ready` once, before anything else, or `fatal` when it can never become ready (a bad model folder), and then exits.
 * - Every message with an `id` is answered under that id: `load` by `loaded` or `failed`, `unload` by `unloaded` or `failed`, `generate` by any
 *   number of `token` and then one `done` or `failed`, `score` by `scored` or `failed`. Nothing follows a `done`, `scored` or `failed` of its id.
 * - `abort` is answered by the job's own `done` with finishReason `abort`; an abort for an id that ended already is ignored.
 * - The child runs all generations interleaved, a token each in turn, and exits when the channel closes (`disconnect`).
 * - A generation is loaded once however many jobs use it. `unload` is answered when the last job that uses it has ended.
 * - `token.text` is whole Unicode text (bytes of an unfinished character are held back), never contains a stop sequence or a part that grew
 *   into one, and may be longer or shorter than one token of the model.
 */
import { z } from "zod";
import { messageSchema } from "../../../shared/events/conversation.ts";
import { generationSchema } from "../../../shared/events/streams.ts";

const id = z.string().min(1).max(64);

export const loadSchema = z.object({
  type: z.literal("load"),
  id,
  generation: generationSchema,
  /** A PEFT folder whose hashes were verified just before. */
  folder: z.string(),
});

export const unloadSchema = z.object({ type: z.literal("unload"), id, generation: generationSchema });

export const generateSchema = z.object({
  type: z.literal("generate"),
  id,
  /** The prompt, oldest first; roles are system, user and assistant only, contents are plain text. */
  messages: z.array(messageSchema).min(1),
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
});

export const scoreSchema = z.object({
  type: z.literal("score"),
  id,
  /** The last one is the assistant's reference answer; only its tokens are scored. */
  messages: z.array(messageSchema).min(2),
  generation: generationSchema.nullable(),
});

export const toChildSchema = z.discriminatedUnion("type", [loadSchema, unloadSchema, generateSchema, z.object({ type: z.literal("abort"), id }), scoreSchema]);
export type ToChild = z.infer<typeof toChildSchema>;

export const modelSchema = z.object({
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

export const fromChildSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("ready"), device: z.string(), /** Why this device. */ reason: z.string(), model: modelSchema }),
  z.object({ type: z.literal("loaded"), id, milliseconds: z.number().min(0), bytes: count }),
  z.object({ type: z.literal("unloaded"), id }),
  z.object({ type: z.literal("token"), id, text: z.string() }),
  z.object({ type: z.literal("done"), id, finishReason: z.enum(["stop", "length", "abort"]), promptTokens: count, completionTokens: count }),
  /** Mean loss in nats a token over the reference answer's tokens. */
  z.object({ type: z.literal("scored"), id, loss: z.number(), tokens: count }),
  /** `code` is one of shared/errors' table; an unknown one counts as `engine_failed`. */
  z.object({ type: z.literal("failed"), id, error: z.object({ code: z.string(), message: z.string() }) }),
  z.object({ type: z.literal("fatal"), error: z.object({ code: z.string(), message: z.string(), hint: z.string() }) }),
]);
export type FromChild = z.infer<typeof fromChildSchema>;
