/**
 * From a model's name to who answers. `auto` and a domain's name go to the domain's live adapter, else to the upstream, else to the base; the
 * base's name and `domain@generation` mean exactly that; so does a name that an adapter was loaded under; any other name is the upstream's to know.
 */
import { EverloraError } from "../../../shared/errors/errors.ts";
import { textOf, type Message } from "../../../shared/events/conversation.ts";
import { domainNameSchema, generationSchema } from "../../../shared/events/streams.ts";
import type { Adapters } from "../adapters/adapters.ts";
import type { Lease } from "../adapters/shelf.ts";
import type { EngineModel } from "../engine/protocol.ts";
import type { Upstream } from "../upstream/upstream.ts";

export const autoModel = "auto";

export type Target = { kind: "engine"; model: string; generation: string | null } | { kind: "upstream"; model: string };

/** Which of the ways to answer was taken: what an experiment compares. */
export type Arm = "live" | "named" | "base" | "upstream";

export interface Route {
  readonly target: Target;
  /** Sorted into, or asked for by name; null where no domain was looked for. */
  readonly domain: string | null;
  readonly arm: Arm;
  /** Lets the adapter go; call it when the answer has ended, however it ended. */
  release(this: void): void;
}

/** What routing must know of a request. */
export interface Wanted {
  readonly model: string;
  /** Why our own base and adapters can't answer it, or null. */
  readonly lack: EverloraError | null;
  /** The words that tell the domain. */
  said(): string;
}

export interface RoutingOptions {
  readonly model: EngineModel;
  readonly adapters: Pick<Adapters, "live" | "leaseLive" | "leaseGeneration" | "leaseAlias">;
  readonly upstream: Upstream | undefined;
  readonly domains: ReadonlySet<string>;
  /** The domain of a text; pure and fast. */
  classify(text: string): string;
}

/** Enough to tell a domain by; the end of a long text, where the question is. */
const classifiedCharacters = 8_000;

/** @throws EverloraError model_not_found, invalid_request (the engine can't do it), adapter_corrupted, … */
export async function routeRequest(wanted: Wanted, options: RoutingOptions): Promise<Route> {
  const { model, adapters, upstream, domains } = options;
  const { lack } = wanted;
  if (wanted.model === model.name) return toBase(model, null, lack);
  const exact = parseExact(wanted.model);
  const named = exact === undefined ? await adapters.leaseAlias(wanted.model) : await adapters.leaseGeneration(exact.domain, exact.generation);
  if (named !== undefined) return held(named, "named", lack);
  // A domain that was taken off the table but still has a live adapter is listed as a model, so it can be named.
  const isDomain = domains.has(wanted.model) || adapters.live(wanted.model) !== undefined;
  const domain = wanted.model === autoModel ? classifyText(wanted.said(), options) : isDomain ? wanted.model : null;
  if (domain !== null) {
    const lease = lack === null ? await adapters.leaseLive(domain) : undefined;
    if (lease !== undefined) return held(lease, "live", null);
    if (upstream === undefined) return toBase(model, domain, lack);
  }
  if (upstream === undefined) throw new EverloraError("model_not_found", `There is no model ${JSON.stringify(wanted.model)}.`, { param: "model" });
  return { target: { kind: "upstream", model: domain === null ? wanted.model : upstream.model }, domain, arm: "upstream", release: () => undefined };
}

/** What the user said: the words by which a domain is told. */
export function saidBy(messages: readonly Message[]): string {
  return messages.filter(({ role }) => role === "user").map(textOf).join("\n");
}

/** The domain that a text belongs to. */
export function classifyText(text: string, { classify }: Pick<RoutingOptions, "classify">): string {
  return classify(text.slice(-classifiedCharacters));
}

/** `domain@generation`, or undefined when the name has another form. */
export function parseExact(name: string): { domain: string; generation: string } | undefined {
  const at = name.lastIndexOf("@");
  if (at <= 0) return undefined;
  const domain = domainNameSchema.safeParse(name.slice(0, at));
  const generation = generationSchema.safeParse(name.slice(at + 1));
  return domain.success && generation.success ? { domain: domain.data, generation: generation.data } : undefined;
}

function held(lease: Lease, arm: Arm, lack: EverloraError | null): Route {
  if (lack !== null) {
    lease.release();
    throw lack;
  }
  return { target: { kind: "engine", model: `${lease.domain}@${lease.generation}`, generation: lease.generation }, domain: lease.domain, arm, release: () => lease.release() };
}

function toBase(model: EngineModel, domain: string | null, lack: EverloraError | null): Route {
  if (lack !== null) throw lack;
  return { target: { kind: "engine", model: model.name, generation: null }, domain, arm: "base", release: () => undefined };
}
