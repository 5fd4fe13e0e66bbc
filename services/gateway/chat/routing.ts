/**
 * From a model's name to who answers. `auto` and a domain's name go to the domain's live adapter, else to the upstream, else to the base; the
 * base's name and `domain@generation` mean exactly that; any other name is the upstream's to know.
 */
import { EverloraError } from "../../../shared/errors/errors.ts";
import { textOf, type Message } from "../../../shared/events/conversation.ts";
import { domainNameSchema, generationSchema } from "../../../shared/events/streams.ts";
import type { Adapters } from "../adapters/adapters.ts";
import type { Lease } from "../adapters/shelf.ts";
import type { EngineModel } from "../engine/protocol.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { engineLacks } from "./capabilities.ts";
import type { ChatRequest } from "./request.ts";

export const autoModel = "auto";

export type Target = { kind: "engine"; model: string; generation: string | null } | { kind: "upstream"; model: string };

export interface Route {
  readonly target: Target;
  /** Sorted into, or asked for by name; null where no domain was looked for. */
  readonly domain: string | null;
  /** Lets the adapter go; call it when the answer has ended, however it ended. */
  release(): void;
}

export interface RoutingOptions {
  readonly model: EngineModel;
  readonly adapters: Pick<Adapters, "live" | "leaseLive" | "leaseGeneration">;
  readonly upstream: Upstream | undefined;
  readonly domains: ReadonlySet<string>;
  /** The domain of a text; pure and fast. */
  classify(text: string): string;
}

/** Enough to tell a domain by; the end of a long text, where the question is. */
const classifiedCharacters = 8_000;

/** @throws EverloraError model_not_found, invalid_request (the engine can't do it), adapter_corrupted, … */
export async function routeRequest(request: ChatRequest, options: RoutingOptions): Promise<Route> {
  const { model, adapters, upstream, domains } = options;
  const lack = engineLacks(request);
  if (request.model === model.name) return toBase(model, null, lack);
  const exact = parseExact(request.model);
  if (exact !== undefined) {
    if (lack !== null) throw lack;
    return held(await adapters.leaseGeneration(exact.domain, exact.generation));
  }
  // A domain that was taken off the table but still has a live adapter is listed as a model, so it can be named.
  const isDomain = domains.has(request.model) || adapters.live(request.model) !== undefined;
  const domain = request.model === autoModel ? domainOf(request.messages, options) : isDomain ? request.model : null;
  if (domain !== null) {
    const lease = lack === null ? adapters.leaseLive(domain) : undefined;
    if (lease !== undefined) return held(lease);
    if (upstream === undefined) return toBase(model, domain, lack);
  }
  if (upstream === undefined) throw new EverloraError("model_not_found", `There is no model ${JSON.stringify(request.model)}.`, { param: "model" });
  return { target: { kind: "upstream", model: domain === null ? request.model : upstream.model }, domain, release: () => undefined };
}

/** The domain that the user's words belong to. */
export function domainOf(messages: readonly Message[], { classify }: Pick<RoutingOptions, "classify">): string {
  const said = messages.filter(({ role }) => role === "user").map(textOf).join("\n");
  return classify(said.slice(-classifiedCharacters));
}

/** `domain@generation`, or undefined when the name has another form. */
export function parseExact(name: string): { domain: string; generation: string } | undefined {
  const at = name.lastIndexOf("@");
  const domain = domainNameSchema.safeParse(name.slice(0, at));
  const generation = generationSchema.safeParse(name.slice(at + 1));
  return at > 0 && domain.success && generation.success ? { domain: domain.data, generation: generation.data } : undefined;
}

function held(lease: Lease): Route {
  return { target: { kind: "engine", model: `${lease.domain}@${lease.generation}`, generation: lease.generation }, domain: lease.domain, release: () => lease.release() };
}

function toBase(model: EngineModel, domain: string | null, lack: EverloraError | null): Route {
  if (lack !== null) throw lack;
  return { target: { kind: "engine", model: model.name, generation: null }, domain, release: () => undefined };
}
