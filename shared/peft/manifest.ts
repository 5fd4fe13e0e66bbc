/**
 * What lies in loras/<domain>/<generation>/: PEFT's two files and `everlora.json`, the manifest, which names the hash of each; and
 * loras/<domain>/live.json, the pointer that says which generation answers. An adapter folder is immutable; only the pointer changes.
 */
import { z } from "zod";
import { domainNameSchema, generationSchema } from "../events/streams.ts";

export const manifestFile = "everlora.json";
export const weightsFile = "adapter_model.safetensors";
export const configFile = "adapter_config.json";
export const pointerFile = "live.json";

export const adapterManifestSchema = z.object({
  version: z.literal(1),
  domain: domainNameSchema,
  generation: generationSchema,
  /** SHA-256 of every other file in the folder, by name. */
  files: z.record(z.string(), z.string().regex(/^[0-9a-f]{64}$/)),
  /** SHA-256 over the base model's files (shared/models): an adapter fits only the base that it was trained on. */
  base: z.object({ name: z.string(), sha256: z.string() }),
  runId: z.string(),
  createdAt: z.number().int(),
  heldOut: z.object({ base: z.number(), adapter: z.number(), rows: z.number().int(), tokens: z.number().int() }),
});
export type AdapterManifest = z.infer<typeof adapterManifestSchema>;

export const livePointerSchema = z.object({
  version: z.literal(1),
  /** null: the base answers. */
  generation: generationSchema.nullable(),
  /** The generation that was live before: what a rollback goes to. */
  previous: generationSchema.nullable(),
  since: z.number().int(),
  reason: z.string(),
});
export type LivePointer = z.infer<typeof livePointerSchema>;
