/** POST /ab/compare: base and adapter on the same prompt, greedily and one after the other, so that neither slows the other down. Nothing is cached or recorded. */
import { Router } from "express";
import { z } from "zod";
import type { Settings } from "../../../shared/config/settings.ts";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { messageSchema, type Message } from "../../../shared/events/conversation.ts";
import { domainNameSchema, generationSchema } from "../../../shared/events/streams.ts";
import { handler } from "../../../shared/http/app.ts";
import type { Lease } from "../adapters/shelf.ts";
import type { Adapters } from "../adapters/adapters.ts";
import { checkMessages, plainMessages } from "../chat/request.ts";
import { domainOf, type RoutingOptions } from "../chat/routing.ts";
import type { Engine, Score } from "../engine/engine.ts";

const textPart = z.strictObject({ type: z.literal("text"), text: z.string() });
const bodySchema = z.strictObject({
  messages: z.array(z.strictObject({ role: messageSchema.shape.role.extract(["system", "developer", "user", "assistant"]), content: z.union([z.string(), z.array(textPart)]) })).min(1),
  /** Default: the domain that the messages belong to. */
  domain: domainNameSchema.optional(),
  /** Default: the live one. */
  generation: generationSchema.optional(),
  /** A good answer to the same prompt: both models' loss on it is given. */
  reference: z.string().min(1).optional(),
  max_tokens: z.int().min(1).max(1 << 16).default(128),
});

export interface CompareDependencies extends Omit<RoutingOptions, "adapters"> {
  readonly engine: Engine;
  readonly adapters: Pick<Adapters, "live" | "leaseLive" | "leaseGeneration" | "list">;
}

export function compareRoutes(dependencies: () => CompareDependencies, settings: Settings): Router {
  const router = Router();
  router.post(
    "/ab/compare",
    handler(async (request, response) => {
      const ready = dependencies();
      const parsed = bodySchema.safeParse(request.body);
      if (!parsed.success) throw new EverloraError("invalid_request", describeIssues(parsed.error.issues));
      const { messages, domain, generation, reference, max_tokens: maxTokens } = parsed.data;
      checkMessages(messages, settings);
      const left = new AbortController();
      response.once("close", () => left.abort());
      const lease = await leaseFor(messages, domain, generation, ready);
      try {
        const prompt = plainMessages(messages);
        const base = await answerOf(ready, prompt, null, maxTokens, reference, left.signal);
        const adapter = await answerOf(ready, prompt, lease.generation, maxTokens, reference, left.signal);
        response.json({ domain: lease.domain, generation: lease.generation, model: ready.model.name, base, adapter });
      } catch (error) {
        if (!left.signal.aborted) throw error;
      } finally {
        lease.release();
      }
    }),
  );
  return router;
}

/** @throws EverloraError adapter_not_found, model_not_found, adapter_corrupted, unknown_domain */
async function leaseFor(messages: readonly Message[], domain: string | undefined, generation: string | undefined, { adapters, domains, classify }: Omit<CompareDependencies, "engine" | "model" | "upstream">): Promise<Lease> {
  if (domain !== undefined && !domains.has(domain) && adapters.live(domain) === undefined) throw new EverloraError("unknown_domain", `There is no domain ${JSON.stringify(domain)}.`, { param: "domain" });
  // A generation alone names its domain when it is live there; otherwise the text decides.
  const wanted = domain ?? adapters.list().find((live) => live.generation === generation)?.domain ?? domainOf(messages, { classify });
  if (generation !== undefined) return adapters.leaseGeneration(wanted, generation);
  const lease = adapters.leaseLive(wanted);
  if (lease === undefined) throw new EverloraError("adapter_not_found", `The domain ${wanted} has no live adapter to compare with.`, { param: "domain", hint: "Name a domain that has one (GET /v1/models), or a generation." });
  return lease;
}

interface Compared {
  readonly answer: string;
  readonly finish_reason: string;
  readonly tokens: { readonly prompt: number; readonly completion: number };
  readonly latency_ms: number;
  readonly first_token_ms: number | null;
  /** On the reference, in nats a token; null when none was given. */
  readonly loss: number | null;
  readonly reference_tokens: number | null;
}

async function answerOf({ engine, model }: CompareDependencies, messages: readonly Message[], generation: string | null, maxTokens: number, reference: string | undefined, signal: AbortSignal): Promise<Compared> {
  const start = performance.now();
  let answer = "";
  let first: number | null = null;
  let end: { finish_reason: string; tokens: Compared["tokens"] } | undefined;
  for await (const event of engine.generate({ messages, generation, maxTokens: Math.min(maxTokens, model.contextLength), temperature: 0, topP: 1, stop: [] }, signal)) {
    first ??= performance.now() - start;
    if (event.type === "token") answer += event.text;
    else end = { finish_reason: event.finishReason, tokens: { prompt: event.promptTokens, completion: event.completionTokens } };
  }
  if (end === undefined) throw new EverloraError("cancelled", "The comparison was aborted.");
  const latency = performance.now() - start;
  const score: Score | undefined = reference === undefined ? undefined : await engine.score([...messages, { role: "assistant", content: reference }], generation, signal);
  return { answer, ...end, latency_ms: round(latency), first_token_ms: first === null ? null : round(first), loss: score?.loss ?? null, reference_tokens: score?.tokens ?? null };
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
