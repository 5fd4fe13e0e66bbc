/** POST /ab/compare: base and adapter on the same prompt, greedily and one after the other, so that neither slows the other down. Nothing is cached or recorded. */
import { Router } from "express";
import { z } from "zod";
import type { Settings } from "../../../shared/config/settings.ts";
import { describeIssues, EverloraError } from "../../../shared/errors/errors.ts";
import { messageSchema, textOf, type Message } from "../../../shared/events/conversation.ts";
import { domainNameSchema, generationSchema } from "../../../shared/events/streams.ts";
import { handler } from "../../../shared/http/app.ts";
import type { Lease } from "../adapters/shelf.ts";
import type { Adapters } from "../adapters/adapters.ts";
import { Accumulator } from "../chat/accumulator.ts";
import type { Backend } from "../chat/backend.ts";
import { checkMessages, parseChatRequest, plainMessages } from "../chat/request.ts";
import { classifyText, saidBy, type RoutingOptions } from "../chat/routing.ts";
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
  readonly backend: Backend;
  /** undefined where another server runs the models: it gives no losses. */
  readonly engine: Engine | undefined;
  readonly adapters: Pick<Adapters, "live" | "leaseLive" | "leaseGeneration" | "leaseAlias" | "list">;
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
        const base = await answerOf({ ...ready, settings }, prompt, null, maxTokens, reference, left.signal);
        const adapter = await answerOf({ ...ready, settings }, prompt, lease, maxTokens, reference, left.signal);
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
async function leaseFor(messages: readonly Message[], domain: string | undefined, generation: string | undefined, { adapters, domains, classify }: Pick<CompareDependencies, "adapters" | "domains" | "classify">): Promise<Lease> {
  if (domain !== undefined && !domains.has(domain) && adapters.live(domain) === undefined) throw new EverloraError("unknown_domain", `There is no domain ${JSON.stringify(domain)}.`, { param: "domain" });
  // A generation alone names its domain when it is live there; otherwise the text decides.
  const wanted = domain ?? adapters.list().find((live) => live.generation === generation)?.domain ?? classifyText(saidBy(messages), { classify });
  if (generation !== undefined) return adapters.leaseGeneration(wanted, generation);
  const lease = await adapters.leaseLive(wanted);
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

async function answerOf({ engine, backend, settings }: Pick<CompareDependencies, "engine" | "backend"> & { settings: Settings }, messages: readonly Message[], lease: Lease | null, maxTokens: number, reference: string | undefined, signal: AbortSignal): Promise<Compared> {
  const which = lease === null ? { model: backend.model.name, generation: null } : { model: `${lease.domain}@${lease.generation}`, generation: lease.generation };
  const request = parseChatRequest({ model: which.model, messages, temperature: 0, max_tokens: Math.min(maxTokens, backend.model.contextLength), stream_options: { include_usage: true } }, "", settings);
  const start = performance.now();
  const whole = new Accumulator();
  let first: number | null = null;
  for await (const chunk of backend.chat(request, which, { id: "compared", created: 0, model: which.model }).stream(signal)) {
    first ??= performance.now() - start;
    whole.add(chunk);
  }
  if (whole.finishReason === null) throw new EverloraError("cancelled", "The comparison was aborted.");
  const latency = performance.now() - start;
  const score: Score | undefined = reference === undefined ? undefined : await engine?.score([...messages, { role: "assistant", content: reference }], which.generation, signal);
  return {
    answer: textOf(whole.message),
    finish_reason: whole.finishReason,
    tokens: { prompt: whole.usage?.prompt_tokens ?? 0, completion: whole.usage?.completion_tokens ?? 0 },
    latency_ms: round(latency),
    first_token_ms: first === null ? null : round(first),
    loss: score?.loss ?? null,
    reference_tokens: score?.tokens ?? null,
  };
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
