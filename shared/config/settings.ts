/**
 * All settings as one table, parsed once from the environment. This is the only file that reads process.env.
 * Responsible for: names, defaults, bounds, help. Not responsible for: what a setting does.
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { EverloraError } from "../errors/errors.ts";
import { computeDevices } from "./devices.ts";
import { targetSchema, trainingValues } from "./training.ts";

/** The checkout: where base_models/ and the bundled samples are. */
export const projectRoot = fileURLToPath(new URL("../..", import.meta.url));

const boolean = z.enum(["true", "false", "1", "0", "yes", "no"]).transform((text) => text === "true" || text === "1" || text === "yes");
const integer = (least: number, most: number) => z.coerce.number().int().min(least).max(most);
const number = (least: number, most: number) => z.coerce.number().min(least).max(most);
const url = (...protocols: string[]) =>
  z.string().refine((text) => URL.canParse(text) && protocols.includes(new URL(text).protocol), { error: `must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(" or ")}` });

/** A comma-separated list. */
const targets = z
  .string()
  .transform((text) => text.split(",").map((name) => name.trim()))
  .pipe(z.array(targetSchema).min(1).max(64));

/** Becomes an HTTP header: what does not fit there could never be sent. */
const headerText = (least: number) => z.string().min(least).regex(/^[\x21-\x7e]*$/, "must be printable ASCII without spaces");

interface Row<S extends z.ZodType> {
  readonly schema: S;
  /** As it would be written in the environment; undefined = no default, the setting is optional. */
  readonly default?: string;
  readonly help: string;
  readonly secret?: true;
}
const row = <S extends z.ZodType>(schema: S, help: string, fallback?: string, secret?: true): Row<S> => ({
  schema,
  help,
  ...(fallback === undefined ? {} : { default: fallback }),
  ...(secret === undefined ? {} : { secret }),
});

/** One row per setting. Order = the order in which they are printed. */
export const settingsTable = {
  DATA_DIR: row(z.string().min(1).transform((path) => resolve(path)), "folder for training_data/, loras/, runs/ and .everlora/ (Redis files, API key)", projectRoot),
  BASE_MODEL: row(z.string().min(1), "a folder in Hugging Face's layout, the name of one under base_models/, or a model's id at the Hub (owner/name, owner/name@revision)", "everlora-tiny"),
  HUB_URL: row(url("http:", "https:"), "where models named by id are fetched from", "https://huggingface.co"),
  HUB_TOKEN: row(headerText(1).optional(), "token for models that need one", undefined, true),
  HUB_OFFLINE: row(boolean, "fetch nothing: a model named by id has to be here already", "false"),
  EMBEDDING_MODEL: row(z.string().min(1).transform((path) => resolve(path)).optional(), "folder of a sentence-embedding model (BERT) for /v1/embeddings and the semantic cache; default: the built-in embedding"),
  COMPUTE_DEVICE: row(z.enum(computeDevices), "where models run; auto takes the first that starts and is faster than the processor, and prints the reason", "auto"),
  COMPUTE_THREADS: row(integer(0, 256), "threads of each compute process; 0 = one per core, and one to serve small models", "0"),
  REDIS_URL: row(url("redis:", "rediss:").optional(), "queue and streams; without it `up` starts a Redis of its own", undefined, true),
  CACHE_REDIS_URL: row(url("redis:", "rediss:").optional(), "semantic cache; default: the same server as REDIS_URL", undefined, true),
  EVERLORA_API_KEY: row(headerText(16).optional(), "one key for every route; default: made at the first start", undefined, true),
  HOST: row(z.string().min(1), "address to listen on", "127.0.0.1"),
  GATEWAY_PORT: row(integer(0, 65535), "gateway", "8080"),
  COLLECTOR_PORT: row(integer(0, 65535), "collector (health and metrics)", "8081"),
  TRAINER_PORT: row(integer(0, 65535), "trainer (health and metrics)", "8082"),
  CONTROL_PORT: row(integer(0, 65535), "control", "8090"),
  UPSTREAM_URL: row(url("http:", "https:").optional(), "OpenAI-compatible server that answers what no adapter covers, for example https://host/v1"),
  UPSTREAM_API_KEY: row(headerText(1).optional(), "key for UPSTREAM_URL", undefined, true),
  UPSTREAM_MODEL: row(z.string().min(1).optional(), "model to ask for at UPSTREAM_URL"),
  ENABLE_FINE_TUNING: row(boolean, "false: collect, but never train", "true"),
  CACHE_TTL: row(integer(1, 30 * 86_400), "seconds that a cached answer lives", "86400"),
  CACHE_SIMILARITY: row(number(0, 1), "least cosine similarity of a semantic hit", "0.95"),
  CACHE_UNCERTAINTY: row(number(0, 1), "width of the band above CACHE_SIMILARITY in which every word must agree, too", "0.03"),
  CACHE_GATE: row(z.enum(["auto", "strict", "facts"]), "strict: every word must agree at any similarity; facts: only in the band; auto: strict with the built-in embedding", "auto"),
  CACHE_DIALOGUES: row(boolean, "look dialogues and turns with tools up by meaning, too", "false"),
  CACHE_INDEX: row(z.enum(["auto", "process", "vector-set", "search"]), "where vectors are searched: in the gateway, in Redis 8 vector sets, by RediSearch; auto takes what the server has", "auto"),
  CACHE_BUDGET: row(number(1, 10_000), "milliseconds that a look-up may take before the model is asked", "50"),
  CACHE_LAG: row(number(1, 60_000), "milliseconds that the gateway's event loop may be late; beyond it only exact hits are looked for", "20"),
  CACHE_ADMIN_KEY: row(headerText(16).optional(), "with this key in x-everlora-admin-key, DELETE /cache reaches every caller's entries", undefined, true),
  UPSTREAM_TIMEOUT: row(number(0.1, 3_600), "seconds to wait for the upstream's first byte, and between two of its bytes", "120"),
  UPSTREAM_CONNECT_TIMEOUT: row(number(0.1, 3_600), "seconds to wait for a connection to the upstream", "5"),
  UPSTREAM_TOTAL_TIMEOUT: row(number(0.1, 86_400), "seconds that one answer of the upstream may take in all", "600"),
  UPSTREAM_RETRIES: row(integer(0, 10), "how often a request is sent to the upstream again while nothing of the answer has gone out", "2"),
  UPSTREAM_BREAKER: row(number(0, 1), "share of failures within 30 s after which the upstream is given a rest; 0 = never", "0.5"),
  UPSTREAM_CONCURRENCY: row(integer(1, 100_000), "requests in flight at the upstream; more get 503", "1024"),
  SERVING_URL: row(url("http:", "https:").optional(), "a vLLM or LoRAX server, up to and including /v1, that runs base and adapters in place of the engine"),
  SERVING_API_KEY: row(headerText(1).optional(), "key for SERVING_URL", undefined, true),
  SERVING_KIND: row(z.enum(["auto", "vllm", "lorax"]), "what SERVING_URL is; auto asks it", "auto"),
  SERVING_LORAS: row(z.string().min(1).optional(), "the folder loras/ as SERVING_URL sees it; default: the same path as here"),
  ENGINE_REPLICAS: row(integer(1, 64), "engine processes; they share COMPUTE_THREADS", "1"),
  ENGINE_CONCURRENCY: row(integer(1, 256), "answers that each engine process works on at once", "8"),
  ENGINE_QUEUE: row(integer(0, 100_000), "answers that may wait for the engine; more get 503", "64"),
  ENGINE_PREFIX_MEMORY: row(integer(0, 1 << 20), "MiB of keys and values that each engine process keeps for prompts that begin the same; 0 = none", "256"),
  ADAPTER_MEMORY: row(integer(1, 1 << 20), "MiB of adapters that stay loaded; beyond it the least recently used go, and come back when they are asked for", "2048"),
  REQUEST_TIMEOUT: row(number(0.1, 86_400), "seconds after which a request is given up; a caller may ask for less", "600"),
  MAX_CHOICES: row(integer(1, 128), "largest n of one request", "8"),
  MAX_COMPLETION_TOKENS: row(integer(1, 1 << 24), "most tokens of one answer", "131072"),
  MAX_MESSAGES: row(integer(1, 2_000), "most messages of one request", "500"),
  MAX_PROMPT_CHARACTERS: row(integer(1, 1 << 28), "most characters of all messages of one request", "400000"),
  MIN_EXAMPLES_PER_DOMAIN: row(integer(1, 10_000_000), "rows that a domain needs before it is trained", "50"),
  TRAINING_DATA_DAYS: row(integer(1, 3_650), "age in days of the oldest row that is trained on", "30"),
  AUTO_TRAINING_INTERVAL: row(number(0, 365), "days between automatic cycles; 0 = none", "7"),
  COLLECT_INTERVAL: row(number(0.1, 86_400), "seconds between scans of the cache for what the stream missed", "60"),
  LORA_RANK: row(integer(1, 256), "rank r of new adapters", "16"),
  LORA_ALPHA: row(number(0.001, 1024), "alpha of new adapters; the update is scaled by alpha / r", "32"),
  LORA_RSLORA: row(boolean, "scale the update by alpha / √r instead, which keeps large ranks stable", "false"),
  LORA_DROPOUT: row(number(0, 0.9), "share of an adapter's inputs that are zero in a training step", "0"),
  LORA_TARGETS: row(targets, "linear layers that get an adapter: all-linear, attention, mlp, or names such as q_proj,v_proj", "all-linear"),
  TRAINING_EPOCHS: row(z.union([z.literal("auto"), integer(1, 100)]), "passes over the training rows; auto = 10,000 / rows, from 1 to 10", "3"),
  LEARNING_RATE: row(number(1e-8, 1), "peak learning rate", "1e-4"),
  TRAINING_SCHEDULE: row(trainingValues.schedule, "how the learning rate falls after the warm-up", "cosine"),
  TRAINING_WARMUP: row(number(0, 1_000_000), "below 1: share of the steps in which the learning rate climbs; otherwise their number", "0.05"),
  TRAINING_WEIGHT_DECAY: row(number(0, 1), "AdamW's weight decay", "0"),
  TRAINING_CLIP_NORM: row(number(0, 1_000), "gradients longer than this are scaled down to it; 0 = never", "1"),
  TRAINING_SEQUENCE_LENGTH: row(integer(32, 131_072), "positions of a packed training sequence", "512"),
  TRAINING_BATCH_SIZE: row(integer(1, 1024), "packed sequences that are computed together", "2"),
  TRAINING_ACCUMULATION: row(integer(1, 1024), "batches in a training step", "1"),
  TRAINING_EVALUATION: row(z.union([z.enum(["epoch", "end"]), integer(1, 1_000_000)]), "when the held-out loss is measured: after each epoch, at the end, or every so many steps; the best adapter is the run's", "epoch"),
  TRAINING_PATIENCE: row(integer(0, 1_000), "measurements without a new best after which a run stops early; 0 = never", "2"),
  TRAINING_START: row(trainingValues.start, "what a run goes on from: a new adapter on the base, or the live one", "base"),
  TRAINING_REPLAY: row(number(0, 1), "share of the rows which the live adapter knows that a run which goes on from it repeats", "0.25"),
  TRAINING_SEED: row(integer(0, 2 ** 31 - 1), "seed of shuffling, initial weights, dropout and replay", "17"),
  GRADIENT_CHECKPOINTING: row(trainingValues.gradient_checkpointing, "compute each block twice to save memory; auto = only where memory is short", "auto"),
  QUANTIZATION: row(trainingValues.quantization, "how frozen weights are kept for training and serving: none = float32; int8 trains faster in half the memory; int4 takes the least memory and answers fastest", "none"),
  CHECKPOINT_SECONDS: row(integer(0, 86_400), "seconds between checkpoints that an interrupted run goes on from; 0 = not by time", "60"),
  CHECKPOINT_STEPS: row(integer(0, 1_000_000), "steps between checkpoints; 0 = not by steps", "0"),
  ANONYMISE_AS: row(z.enum(["placeholders", "surrogates"]), "what stands in the place of personal data: [CPF], or made-up values that are the same throughout a conversation", "placeholders"),
  HELD_OUT_SHARE: row(number(0.01, 0.5), "share of rows that is never trained on, for evaluation", "0.15"),
  CALLER_SHARE: row(number(0.01, 1), "largest share of a data set that one caller may fill; 1 = no limit", "0.5"),
  TEMPLATE_SHARE: row(number(0.01, 1), "largest share of a data set that questions of one template (the same first words) may fill; 1 = no limit", "0.25"),
  SOURCE_SHARE: row(number(0.01, 1), "largest share of a data set that one source (upstream, import, correction) may fill; 1 = no limit", "1"),
  MAX_ROW_CHARACTERS: row(integer(100, 1 << 24), "longest conversation that becomes a row; longer ones are dropped as too_long", "64000"),
  GENERAL_TOLERANCE: row(number(0, 10), "how much worse (nats a token) an adapter may be on the general set", "0.1"),
  MAX_BODY_BYTES: row(integer(1024, 1 << 30), "largest HTTP request body", "2097152"),
  LOG_LEVEL: row(z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]), "least severe level to log", "info"),
} as const satisfies Record<string, Row<z.ZodType>>;

export type SettingName = keyof typeof settingsTable;
export type Settings = { readonly [Name in SettingName]: z.infer<(typeof settingsTable)[Name]["schema"]> };

/**
 * Parses the environment. Empty values and blanks count as not set, as in compose files.
 * @throws EverloraError invalid_settings that names every bad variable, its value (unless secret) and its bounds, at once
 */
export function loadSettings(environment: Readonly<Record<string, string | undefined>> = process.env): Settings {
  const faults: string[] = [];
  const settings: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries<Row<z.ZodType>>(settingsTable)) {
    const given = environment[name];
    const text = given === undefined || given.trim() === "" ? setting.default : given;
    const parsed = setting.schema.safeParse(text);
    if (parsed.success) settings[name] = parsed.data;
    else faults.push(`${name}=${setting.secret ? "(secret)" : JSON.stringify(withoutPassword(text))}: ${parsed.error.issues.map((issue) => issue.message).join(", ")} (${setting.help})`);
  }
  if (faults.length > 0) throw new EverloraError("invalid_settings", faults.join("; "));
  return settings as Settings;
}

/** Settings as they may be printed: secrets and passwords in URLs are masked. */
export function printableSettings(settings: Settings): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries<Row<z.ZodType>>(settingsTable).map(([name, setting]) => {
      const value: unknown = settings[name as SettingName];
      return [name, setting.secret === true && value !== undefined ? "(set)" : withoutPassword(value)];
    }),
  );
}

/** Masks what stands before the @ of a URL, whether or not it is a good one. */
function withoutPassword<T>(value: T): T | string {
  if (typeof value !== "string") return value;
  return value.replace(URL.canParse(value) ? /^(\w+:\/\/)[^/?#]*@/ : /^(\w+:\/\/).*@/, "$1***@");
}

/** Settings as an environment from which `loadSettings` makes the same again: for child processes. Holds the secrets, too. */
export function environmentOf(settings: Settings): Record<string, string> {
  return Object.fromEntries(Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])));
}

/** The environment that a child process starts from. */
export function parentEnvironment(): Record<string, string | undefined> {
  return { ...process.env };
}
