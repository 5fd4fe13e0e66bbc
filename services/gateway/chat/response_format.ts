/** OpenAI's `response_format`, for the engine: text, any JSON object, or JSON of a schema. Whether the engine can keep to a schema is for it to say. */
import { z } from "zod";
import { compileSchema } from "../../../shared/engine/json/schema.ts";
import { EverloraError, toEverloraError } from "../../../shared/errors/errors.ts";
import type { ResponseFormat } from "../engine/protocol.ts";

export const responseFormatShape = z.looseObject({ type: z.string() });
type Asked = z.infer<typeof responseFormatShape>;

const jsonSchemaShape = z.looseObject({ json_schema: z.looseObject({ name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, "1 to 64 of a-z A-Z 0-9 _ -"), schema: z.record(z.string(), z.unknown()).nullish(), strict: z.boolean().nullish() }) });

/** True for the three types of OpenAI; others (vLLM's grammars) are for an upstream. */
export function isKnownFormat(asked: Asked | null | undefined): boolean {
  return asked === null || asked === undefined || asked.type === "text" || asked.type === "json_object" || asked.type === "json_schema";
}

/** null: text. @throws EverloraError invalid_request */
export function engineFormat(asked: Asked | null | undefined): ResponseFormat | null {
  if (asked === null || asked === undefined || asked.type === "text") return null;
  if (asked.type === "json_object") return { type: "json_object" };
  const parsed = jsonSchemaShape.safeParse(asked);
  if (asked.type !== "json_schema" || !parsed.success) {
    throw new EverloraError("invalid_request", `response_format: json_schema needs a name and a schema${parsed.success ? "" : ` (${parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ")})`}.`, { param: "response_format" });
  }
  const { schema } = parsed.data.json_schema;
  // OpenAI: without a schema, any object.
  return schema === null || schema === undefined ? { type: "json_object" } : { type: "json_schema", schema };
}

/** null when the engine can keep to it; otherwise why not, so that an upstream is asked where there is one, and the caller told where there is none. */
export function formatLack(asked: Asked | null | undefined): EverloraError | null {
  try {
    const format = engineFormat(asked);
    if (format?.type === "json_schema") compileSchema(format.schema);
    return null;
  } catch (error) {
    return toEverloraError(error);
  }
}
