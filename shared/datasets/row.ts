/** One row of training data: training_data/<domain>/rows.jsonl has one JSON object a line. Already anonymised; nothing else may be written there. */
import { z } from "zod";
import { answerSource, conversationSchema, messageSchema, provenanceSchema } from "../events/conversation.ts";
import { domainNameSchema } from "../events/streams.ts";

export const rowSchema = z.object({
  version: z.literal(1),
  /** SHA-256 (first 32 hex digits) of the normalised, anonymised messages: the same content has the same id. */
  id: z.string().regex(/^[0-9a-f]{32}$/),
  /** The Conversation.id that it came from. */
  conversation: z.string(),
  domain: domainNameSchema,
  language: z.enum(["pt", "en", "unknown"]),
  /** The prompt's messages and, last, the assistant's answer. */
  messages: z.array(messageSchema).min(2),
  /** The tools that the answer could call. */
  tools: z.array(z.looseObject({})).optional(),
  /** By a stable hash of caller and opening, or as the near-duplicate cluster has it (split.ts): never changes. */
  split: z.enum(["train", "held-out"]),
  /** Id of the near-duplicate cluster. */
  cluster: z.string(),
  source: answerSource,
  model: z.string(),
  generation: z.string().nullable(),
  caller: z.string(),
  /** How the answer ended, as the answering server said: absent where it didn't. */
  finishReason: z.string().optional(),
  feedback: conversationSchema.shape.feedback,
  provenance: provenanceSchema.optional(),
  createdAt: z.number().int(),
  collectedAt: z.number().int(),
  /** How many of each kind were replaced, for example {"EMAIL": 2}. */
  anonymised: z.record(z.string(), z.number().int()),
});
export type Row = z.infer<typeof rowSchema>;
