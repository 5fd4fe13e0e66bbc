/**
 * Where a command's work is done: here, with the store under its lock, or by the collector that holds the lock, over HTTP. The data has one writer either way.
 */
import { join } from "node:path";
import { z } from "zod";
import { openAnonymiser } from "../../../shared/anonymise/open.ts";
import { pathsOf } from "../../../shared/config/paths.ts";
import type { Settings } from "../../../shared/config/settings.ts";
import { forgetReportSchema, outcomeSchema, type ForgetReport, type Outcome } from "../../../shared/datasets/commands.ts";
import { loadDomains } from "../../../shared/domains/domains.ts";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";
import { loadApiKey } from "../../../shared/http/auth.ts";
import type { Logger } from "../../../shared/log/log.ts";
import { tuneCompiler } from "../compiler.ts";
import { forgetRows, type Selector } from "../forget/forget.ts";
import { createIntake } from "../intake.ts";
import { acquireLock, type Lock } from "../store/lock.ts";
import { openStore } from "../store/store.ts";

export interface Target {
  collect(conversations: readonly Conversation[]): Promise<Outcome>;
  forget(selector: Selector, dryRun: boolean): Promise<ForgetReport>;
  close(): Promise<void>;
}

/** @param dryRun looks at what is there without the lock, and keeps what would be written in memory only @throws EverloraError conflict */
export async function openTarget(settings: Settings, log: Logger, dryRun: boolean): Promise<Target> {
  tuneCompiler();
  const { trainingData } = pathsOf(settings);
  if (dryRun) return openLocal(settings, log, null);
  try {
    return await openLocal(settings, log, await acquireLock(join(trainingData, ".collector.lock")));
  } catch (error) {
    const url = error instanceof EverloraError && error.code === "conflict" ? error.details["url"] : undefined;
    if (typeof url === "string") return openRemote(url, settings);
    throw error;
  }
}

async function openLocal(settings: Settings, log: Logger, lock: Lock | null): Promise<Target> {
  const paths = pathsOf(settings);
  const domains = loadDomains(settings.DATA_DIR);
  try {
    const store = await openStore(paths.trainingData, domains.map(({ name }) => name), log, lock === null);
    const intake = createIntake(store, { anonymiser: await openAnonymiser(settings), domains, heldOutShare: settings.HELD_OUT_SHARE, days: settings.TRAINING_DATA_DAYS, longest: settings.MAX_ROW_CHARACTERS }, null, log);
    return {
      collect: (conversations) => intake.collect("import", conversations),
      async forget(selector, dryRun) {
        const { apiKey } = await loadApiKey(settings.EVERLORA_API_KEY, paths.apiKeyFile);
        return intake.alone(() => forgetRows({ paths, store, selector, dryRun, now: Date.now(), apiKey }));
      },
      async close() {
        await store.save("at the end");
        store.close();
        await lock?.release();
      },
    };
  } catch (error) {
    await lock?.release();
    throw error;
  }
}

const failureSchema = z.object({ error: z.looseObject({ message: z.string(), hint: z.string().optional() }) });

/** POST to a running collector, with the key that its data folder has. */
export function postTo(url: string, settings: Settings): (path: string, body: unknown) => Promise<unknown> {
  return async (path, body) => {
    const { apiKey } = await loadApiKey(settings.EVERLORA_API_KEY, pathsOf(settings).apiKeyFile);
    let response: Response;
    try {
      response = await fetch(`${url}${path}`, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: JSON.stringify(body) });
    } catch (error) {
      throw new EverloraError("service_failed", `The collector at ${url} holds the training data and does not answer: ${messageOf(error)}`, { hint: "Wait until it is up, or stop it and run the command again." });
    }
    const answer: unknown = await response.json().catch(() => null);
    if (response.ok) return answer;
    const failure = failureSchema.safeParse(answer);
    throw new EverloraError("service_failed", `The collector at ${url} refused: ${failure.success ? failure.data.error.message : `HTTP ${response.status}`}`, failure.data?.error.hint === undefined ? {} : { hint: failure.data.error.hint });
  };
}

function openRemote(url: string, settings: Settings): Target {
  const post = postTo(url, settings);
  return {
    collect: async (conversations) => outcomeSchema.parse(await post("/import", { conversations })),
    forget: async (selector, dryRun) => forgetReportSchema.parse(await post("/forget", { ...selector, dryRun })),
    close: async () => undefined,
  };
}
