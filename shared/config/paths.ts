/** Where things lie under DATA_DIR and in the checkout. Files are truth: everything in Redis can be rebuilt from these. */
import { existsSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { downloadedFolder, parseModelId } from "../hub/model_id.ts";
import { projectRoot, type Settings } from "./settings.ts";

export interface Paths {
  readonly data: string;
  /** training_data/<domain>/rows.jsonl */
  readonly trainingData: string;
  /** loras/<domain>/<generation>/ and loras/<domain>/live.json */
  readonly loras: string;
  /** runs/<run id>/ */
  readonly runs: string;
  /** private state: Redis files, API key, compiled graphs */
  readonly state: string;
  /** Float32 weights and compiled graphs, made again when missing. */
  readonly compiled: string;
  readonly apiKeyFile: string;
  /** What was fetched from the Hub. */
  readonly models: string;
  readonly baseModel: string;
  readonly samples: string;
  readonly generalSet: string;
}

export function pathsOf(settings: Pick<Settings, "DATA_DIR" | "BASE_MODEL">): Paths {
  const data = settings.DATA_DIR;
  const state = join(data, ".everlora");
  return {
    data,
    trainingData: join(data, "training_data"),
    loras: join(data, "loras"),
    runs: join(data, "runs"),
    state,
    compiled: join(state, "compiled"),
    apiKeyFile: join(state, "api-key"),
    models: join(data, "models"),
    baseModel: resolveBaseModel(settings.BASE_MODEL, join(data, "models")),
    samples: join(projectRoot, "shared", "datasets", "samples"),
    generalSet: join(projectRoot, "shared", "datasets", "general.jsonl"),
  };
}

/** A bare name means a folder under base_models/, `owner/name` one that was fetched from the Hub, anything else is a path. Whether it is a model is for its reader to say. */
function resolveBaseModel(name: string, models: string): string {
  const bundled = join(projectRoot, "base_models", name);
  if (!isAbsolute(name) && !name.startsWith(".") && existsSync(bundled)) return bundled;
  const id = existsSync(name) ? null : parseModelId(name);
  return (id === null ? null : downloadedFolder(models, id)) ?? resolve(name);
}
