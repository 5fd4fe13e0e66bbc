/**
 * An adapter goes live: pointer, bell, record, in this order. Each step may be done twice without harm, and whoever finds the first ones done finishes
 * the rest: a crash in between loses nothing.
 */
import { join } from "node:path";
import type { Job } from "bullmq";
import type { FineTuneJob } from "../../shared/events/queues.ts";
import { publish } from "../../shared/events/streams.ts";
import { listAdapters, readLive, verifyAdapter, writeLive } from "../../shared/peft/registry.ts";
import type { TrainerContext } from "./context.ts";
import type { Recorder } from "./recorder.ts";

/** The job is no longer this trainer's: nothing of the run may be written any more. */
export class LostLock extends Error {
  override readonly name = "LostLock";
}

/** Another adapter went live while the run was at work: the gate did not compare with that one. */
export class LiveChanged extends Error {
  override readonly name = "LiveChanged";
}

/**
 * Asks Redis whether the job is still this trainer's, and renews the lock to its full length, so that what follows at once is covered.
 * @throws LostLock
 */
export async function requireLock(context: TrainerContext, job: Job<FineTuneJob>, token: string): Promise<void> {
  const held = await job.extendLock(token, context.options.lockMs);
  if (held !== 1) throw new LostLock(`${job.data.runId} was taken over by another trainer`);
}

/** @throws LostLock, LiveChanged */
export async function goLive(context: TrainerContext, recorder: Recorder, job: Job<FineTuneJob>, token: string, generation: string): Promise<void> {
  const { loras } = context.paths;
  const { id, domain, liveBefore } = recorder.run;
  await recorder.flush();
  await requireLock(context, job, token);
  const live = (await readLive(loras, domain))?.generation ?? null;
  let at = Date.now();
  const ring = async () => {
    at = Date.now();
    await publish(context.redis, "adapters", { type: "published", domain, generation, at });
  };
  if (live === generation) await ring();
  else {
    if (live !== liveBefore) throw new LiveChanged(`${live ?? "The base"} went live for ${domain} while ${id} was compared with ${liveBefore ?? "the base"}; the comparison has to be made again.`);
    await writeLive(loras, domain, { generation, reason: `published by ${id}` }, ring);
  }
  recorder.log("info", `Generation ${generation} is live.`);
  await recorder.flush();
  await recorder.change({ state: "published", generation, publishedAt: at, finishedAt: Date.now() });
  context.metrics.trainingLastSuccess.set({ domain }, at / 1000);
}

/** The adapter that an earlier attempt at this run stored before it was cut off, if it is whole. */
export async function storedAdapter(context: TrainerContext, domain: string, runId: string): Promise<string | null> {
  const { loras } = context.paths;
  const { adapters } = await listAdapters(loras);
  const stored = adapters.find((adapter) => adapter.domain === domain && adapter.manifest.runId === runId);
  if (stored === undefined) return null;
  try {
    await verifyAdapter(join(loras, domain, stored.generation));
    return stored.generation;
  } catch {
    return null;
  }
}
