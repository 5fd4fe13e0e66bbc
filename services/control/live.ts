/** Moving a domain's live pointer by hand: to a generation that is there, back to the one before, or back to the base. */
import { join } from "node:path";
import { EverloraError } from "../../shared/errors/errors.ts";
import { publish, type AdapterEvent } from "../../shared/events/streams.ts";
import type { LivePointer } from "../../shared/peft/manifest.ts";
import { readLive, verifyAdapter, writeLive } from "../../shared/peft/registry.ts";
import type { ControlContext } from "./context.ts";

/**
 * Makes a stored generation the live one. Its files are hashed first: what is damaged doesn't go live.
 * @throws EverloraError adapter_not_found, adapter_corrupted
 */
export async function promote(context: ControlContext, domain: string, generation: string): Promise<LivePointer> {
  await requireWhole(context, domain, generation);
  return move(context, domain, generation, "promoted", "promoted by hand");
}

/**
 * Takes the live adapter back. To the previous generation goes only a first rollback: after it, the previous one is the one that was just taken back, and
 * a second rollback must not bring it in again, so that goes to the base.
 * @throws EverloraError conflict when the base answers already; adapter_corrupted when the previous generation is damaged
 */
export async function rollback(context: ControlContext, domain: string, to: "previous" | "base"): Promise<LivePointer> {
  const live = await readLive(context.paths.loras, domain);
  if (live === null || live.generation === null) throw new EverloraError("conflict", `The base answers for ${domain} already: there is nothing to roll back.`, { param: "domain", hint: "GET /adapters lists the adapters; promote one to make it live." });
  const target = to === "base" || live.reason.startsWith(rolledBack) ? null : live.previous;
  if (target !== null) await requireWhole(context, domain, target);
  const pointer = await move(context, domain, target, "rolled_back", `${rolledBack} from ${live.generation}`);
  context.metrics.rollbacks.inc({ domain });
  return pointer;
}

const rolledBack = "rolled back";

async function requireWhole(context: ControlContext, domain: string, generation: string): Promise<void> {
  await verifyAdapter(join(context.paths.loras, domain, generation));
}

/** Pointer first, bell second: with Redis away the gateways learn of it when they start again, and the client is told by a 503 to try again. */
async function move(context: ControlContext, domain: string, generation: string | null, type: AdapterEvent["type"], reason: string): Promise<LivePointer> {
  const { loras } = context.paths;
  const live = await readLive(loras, domain);
  const ring = () => publish(context.redis, "adapters", { type, domain, generation, at: Date.now() });
  const isThere = live !== null && live.generation === generation;
  if (isThere) await ring();
  const pointer = isThere ? live : await writeLive(loras, domain, { generation, reason }, ring);
  context.log.info({ domain, generation, reason }, "the live adapter was changed by hand");
  return pointer;
}
