/** POST /v1/load_lora_adapter and /v1/unload_lora_adapter in vLLM's shapes (text on success), and GET /v1/lora_adapters: what is in memory. */
import { Router } from "express";
import { z } from "zod";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { generationSchema } from "../../../shared/events/streams.ts";
import { handler } from "../../../shared/http/app.ts";
import type { Adapters } from "../adapters/adapters.ts";
import type { AdaptersByRequest } from "../adapters/by_request.ts";

const name = z.string().min(1).max(256);
const expected = generationSchema.nullable().optional();
const loadSchema = z.looseObject({ lora_name: name, lora_path: z.string().min(1).max(4_096), load_inplace: z.boolean().nullish(), expected_generation: expected });
const unloadSchema = z.looseObject({ lora_name: name, expected_generation: expected });

export interface LoraDependencies {
  readonly adapters: Adapters;
  readonly byRequest: AdaptersByRequest;
}

export function loraRoutes(dependencies: () => LoraDependencies): Router {
  const router = Router();
  router.post(
    "/v1/load_lora_adapter",
    handler(async (request, response) => {
      const { lora_name: wanted, lora_path: path, load_inplace: inPlace, expected_generation: generation } = parse(loadSchema, request.body, "Both 'lora_name' and 'lora_path' must be provided.");
      await dependencies().byRequest.load({ name: wanted, path, inPlace: inPlace ?? false, expected: generation });
      response.type("text").send(`Success: LoRA adapter '${wanted}' added successfully.`);
    }),
  );
  router.post(
    "/v1/unload_lora_adapter",
    handler(async (request, response) => {
      const { lora_name: wanted, expected_generation: generation } = parse(unloadSchema, request.body, "'lora_name' must be provided.");
      await dependencies().byRequest.unload({ name: wanted, expected: generation });
      response.type("text").send(`Success: LoRA adapter '${wanted}' removed successfully.`);
    }),
  );
  router.get("/v1/lora_adapters", (_request, response) => {
    const { adapters } = dependencies();
    const names = [...adapters.list().map(({ domain, generation }) => ({ name: domain, domain, generation })), ...adapters.aliases().map(({ name: alias, adapter }) => ({ name: alias, ...adapter }))];
    response.json({
      object: "list",
      data: adapters.residents().map(({ domain, generation, bytes, leases, retired }) => ({
        id: `${domain}@${generation}`,
        generation,
        bytes,
        aliases: names.filter((each) => each.domain === domain && each.generation === generation).map((each) => each.name),
        active_leases: leases,
        retired,
      })),
    });
  });
  return router;
}

function parse<S extends z.ZodType>(schema: S, body: unknown, words: string): z.infer<S> {
  const parsed = schema.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new EverloraError("invalid_request", `${words} (${describeIssues(parsed.error.issues)})`, { ...(issue === undefined || issue.path.length === 0 ? {} : { param: String(issue.path[0]) }) });
}
