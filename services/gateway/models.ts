/** Who runs the models of this gateway: engine processes here, or a server of the serving fleet where SERVING_URL names one. And the teacher, where there is one. */
import { pathsOf } from "../../shared/config/paths.ts";
import type { Settings } from "../../shared/config/settings.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import type { Logger } from "../../shared/log/log.ts";
import type { Metrics } from "../../shared/metrics/metrics.ts";
import { openModelFolder } from "../../shared/models/folder.ts";
import { engineBackend, type Backend } from "./chat/backend.ts";
import { Engine } from "./engine/engine.ts";
import type { EngineModel } from "./engine/protocol.ts";
import { servingBackend } from "./serving/backend.ts";
import { Fleet } from "./serving/fleet.ts";
import { Upstream } from "./upstream/upstream.ts";

export interface Models {
  /** Where adapters are loaded. */
  readonly host: Pick<Engine, "start" | "close" | "state" | "load" | "unload">;
  /** undefined where another server runs the models. */
  readonly engine: Engine | undefined;
  /** undefined where the engine runs them. */
  readonly serving: Upstream | undefined;
  backend(this: void, model: EngineModel): Backend;
}

export interface OpenModelsOptions {
  readonly settings: Settings;
  readonly log: Logger;
  readonly metrics: Metrics<"gateway">;
  /** Another engine child, for tests. */
  readonly engineScript?: string | undefined;
  readonly onLost: (generation: string, error: EverloraError) => void;
}

/** Nothing is started yet. @throws EverloraError invalid_model_folder: a serving server needs the folder of its base here, too, for the adapters' sake */
export async function openModels({ settings, log, metrics, engineScript, onLost }: OpenModelsOptions): Promise<Models> {
  const { SERVING_URL: url } = settings;
  if (url === undefined) {
    const engine = new Engine({ settings, log, metrics, onLost, ...(engineScript === undefined ? {} : { script: engineScript }) });
    return { host: engine, engine, serving: undefined, backend: (model) => engineBackend(engine, model) };
  }
  const { name, sha256, config, parameters } = await openModelFolder(pathsOf(settings).baseModel);
  const serving = new Upstream({ ...serverOptions(settings, metrics), who: "serving", url, apiKey: settings.SERVING_API_KEY, model: name });
  const fleet = new Fleet({ url, kind: settings.SERVING_KIND, server: serving, local: { name, sha256, contextLength: config.contextLength, parameters }, loras: settings.SERVING_LORAS, log });
  return { host: fleet, engine: undefined, serving, backend: (model) => servingBackend(fleet, serving, model) };
}

/** @throws EverloraError invalid_settings when it is clear where to ask but not for what */
export function openUpstream(settings: Settings, metrics: Metrics<"gateway">): Upstream | undefined {
  const { UPSTREAM_URL: url, UPSTREAM_MODEL: model } = settings;
  if (url === undefined) return undefined;
  if (model === undefined) throw new EverloraError("invalid_settings", `UPSTREAM_URL=${JSON.stringify(url)} is set but UPSTREAM_MODEL isn't.`, { param: "UPSTREAM_MODEL", hint: "Set UPSTREAM_MODEL to the model that the upstream shall answer with." });
  return new Upstream({ ...serverOptions(settings, metrics), who: "upstream", url, apiKey: settings.UPSTREAM_API_KEY, model });
}

/** The same manners towards every server. */
function serverOptions(settings: Settings, metrics: Metrics<"gateway">) {
  return {
    timeOuts: { connect: settings.UPSTREAM_CONNECT_TIMEOUT, silence: settings.UPSTREAM_TIMEOUT, total: settings.UPSTREAM_TOTAL_TIMEOUT },
    retries: settings.UPSTREAM_RETRIES,
    breaker: settings.UPSTREAM_BREAKER,
    concurrency: settings.UPSTREAM_CONCURRENCY,
    metrics,
  };
}
