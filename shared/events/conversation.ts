/**
 * What was said, as the gateway records it and the collector reads it: on the stream `conversations` and inside every cache entry.
 * Enough to rebuild a chat JSONL line exactly.
 */
import { hash } from "node:crypto";
import { z } from "zod";

export const messageSchema = z.object({
  role: z.enum(["system", "developer", "user", "assistant", "tool", "function"]),
  /** Text, OpenAI content parts, or null (an assistant turn that only calls tools). */
  content: z.union([z.string(), z.array(z.looseObject({ type: z.string() })), z.null()]).optional(),
  name: z.string().optional(),
  tool_calls: z.array(z.looseObject({})).optional(),
  tool_call_id: z.string().optional(),
  /** OpenAI's fine-tuning files: an assistant turn of weight 0 is context and not to be learnt. */
  weight: z.literal([0, 1]).optional(),
});
export type Message = z.infer<typeof messageSchema>;

/** Who gave the answer. Only `upstream`, `import` and `correction` teach; see DESIGN, "Only good teachers". */
export const answerSource = z.enum(["upstream", "base", "adapter", "import", "correction"]);
export type AnswerSource = z.infer<typeof answerSource>;

/** Where a conversation was found: the gateway's own traffic (absent), another program's cache, or a file. Names a layout or format, never a path. */
export const provenanceSchema = z.object({ from: z.enum(["cache", "file"]), layout: z.string().regex(/^[a-z0-9-]{1,40}$/) });

export const conversationSchema = z.object({
  version: z.literal(1),
  /** Unique per answer; the idempotency key from end to end. */
  id: z.string().min(1).max(128),
  /** Milliseconds since 1970. */
  createdAt: z.number().int().nonnegative(),
  /** SHA-256 of the caller's identity, hex; never the key itself. */
  caller: z.string().max(64),
  /** The prompt's messages, oldest first. */
  messages: z.array(messageSchema).min(1).max(2_000),
  answer: messageSchema,
  finishReason: z.string().optional(),
  source: answerSource,
  /** The model that answered, as it named itself. */
  model: z.string(),
  /** Generation of the adapter that answered, null for a base or an upstream. */
  generation: z.string().nullable(),
  tools: z.array(z.looseObject({})).optional(),
  feedback: z.enum(["approved", "rejected"]).optional(),
  provenance: provenanceSchema.optional(),
  /** What a person who handed it over sorted it into; otherwise it is classified. */
  domain: z.string().max(63).optional(),
});
export type Conversation = z.infer<typeof conversationSchema>;

/** The text of a message whose content may be parts; non-text parts are left out. */
export function textOf(message: Message): string {
  const { content } = message;
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part) => (part.type === "text" && typeof part["text"] === "string" ? part["text"] : "")).join("");
}

/** SHA-256 in hex. */
export function sha256(data: string | Uint8Array): string {
  return hash("sha256", data, "hex");
}
