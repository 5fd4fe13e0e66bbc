/**
 * Every metric of every service, as one table; `createMetrics` makes the ones of one service. Names follow Prometheus' rules: one prefix, base
 * units, _total on counters, few label values, and nothing about callers or texts. Series without labels exist from the start, at 0, and so do those
 * whose values are listed in `from`: to Prometheus a counter that appears with 1 has not increased, and an alert would miss the first event.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from "prom-client";

export type Service = "gateway" | "collector" | "trainer" | "control";

const fast = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const slow = [1, 5, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 43_200, 86_400];
const all: readonly Service[] = ["gateway", "collector", "trainer", "control"];

interface MetricRow {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly services: readonly Service[];
  readonly buckets?: readonly number[];
  /** Of a counter: the values of every label of which all combinations are there from the start. */
  readonly from?: Readonly<Record<string, readonly string[]>>;
}

export const metricsTable = {
  httpRequests: { kind: "counter", name: "everlora_http_requests_total", help: "HTTP requests answered.", labels: ["method", "route", "code"], services: all },
  httpDuration: { kind: "histogram", name: "everlora_http_request_duration_seconds", help: "Time from request to last byte.", labels: ["method", "route"], services: all, buckets: fast },
  httpInFlight: { kind: "gauge", name: "everlora_http_requests_in_flight", help: "HTTP requests being answered.", labels: [], services: all },
  authFailures: { kind: "counter", name: "everlora_auth_failures_total", help: "Requests refused for their key.", labels: ["kind"], services: all, from: { kind: ["missing", "invalid"] } },

  inferenceRequests: { kind: "counter", name: "everlora_inference_requests_total", help: "Answers, by who gave them.", labels: ["source", "outcome"], services: ["gateway"], from: { source: ["cache", "base", "adapter", "upstream"], outcome: ["ok", "refused", "error", "aborted"] } },
  inferenceTokens: { kind: "counter", name: "everlora_inference_tokens_total", help: "Tokens read and written by the engine.", labels: ["kind"], services: ["gateway"] },
  timeToFirstToken: { kind: "histogram", name: "everlora_inference_time_to_first_token_seconds", help: "Time from request to first token.", labels: ["source"], services: ["gateway"], buckets: fast },
  inferenceDuration: { kind: "histogram", name: "everlora_inference_duration_seconds", help: "Time from request to last token.", labels: ["source"], services: ["gateway"], buckets: fast },
  enginePrefixBytes: { kind: "gauge", name: "everlora_engine_prefix_bytes", help: "Keys and values kept for prompts that begin the same.", labels: [], services: ["gateway"] },
  engineRestarts: { kind: "counter", name: "everlora_engine_restarts_total", help: "Engine child processes that had to be started again.", labels: [], services: ["gateway"] },
  engineReplicas: { kind: "gauge", name: "everlora_engine_replicas", help: "Engine child processes that can answer.", labels: [], services: ["gateway"] },
  engineQueue: { kind: "gauge", name: "everlora_engine_queue", help: "Answers that wait for the engine.", labels: [], services: ["gateway"] },
  engineShed: { kind: "counter", name: "everlora_engine_shed_total", help: "Answers refused because too many waited.", labels: ["reason"], services: ["gateway"] },
  upstreamRequests: { kind: "counter", name: "everlora_upstream_requests_total", help: "Requests to other servers, each attempt.", labels: ["target", "outcome"], services: ["gateway"] },
  upstreamRetries: { kind: "counter", name: "everlora_upstream_retries_total", help: "Requests to other servers that were sent again.", labels: ["target"], services: ["gateway"] },
  upstreamOpen: { kind: "gauge", name: "everlora_upstream_breaker_open", help: "1 while a server that fails too often is given a rest.", labels: ["target"], services: ["gateway"] },
  upstreamInFlight: { kind: "gauge", name: "everlora_upstream_requests_in_flight", help: "Requests to other servers in flight.", labels: ["target"], services: ["gateway"] },
  cacheRequests: { kind: "counter", name: "everlora_cache_requests_total", help: "Cache look-ups.", labels: ["result"], services: ["gateway"], from: { result: ["hit-exact", "hit-semantic", "joined", "miss", "miss-exact", "bypass", "error"] } },
  cacheLookup: { kind: "histogram", name: "everlora_cache_lookup_duration_seconds", help: "Time of a cache look-up.", labels: [], services: ["gateway"], buckets: fast },
  cacheEntries: { kind: "gauge", name: "everlora_cache_entries", help: "Entries in this gateway's index.", labels: [], services: ["gateway"] },
  cacheSimilarity: { kind: "histogram", name: "everlora_cache_similarity", help: "Similarity of the nearest entry that passed the gates.", labels: ["result"], services: ["gateway"], buckets: [0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1] },
  cacheSavedTokens: { kind: "counter", name: "everlora_cache_saved_tokens_total", help: "Tokens that the cache's answers cost when the model gave them.", labels: ["kind"], services: ["gateway"] },
  cacheRemoved: { kind: "counter", name: "everlora_cache_removed_total", help: "Entries taken out of the cache before their time.", labels: ["reason"], services: ["gateway"] },
  feedback: { kind: "counter", name: "everlora_feedback_total", help: "What callers said of answers.", labels: ["rating"], services: ["gateway"] },
  conversationsRecorded: { kind: "counter", name: "everlora_conversations_recorded_total", help: "Conversations put on the stream.", labels: ["outcome"], services: ["gateway"], from: { outcome: ["recorded", "lost"] } },
  adapterLoads: { kind: "counter", name: "everlora_adapter_loads_total", help: "Adapters loaded into the engine.", labels: ["outcome"], services: ["gateway"], from: { outcome: ["loaded", "refused", "lost"] } },
  adapterLoadDuration: { kind: "histogram", name: "everlora_adapter_load_duration_seconds", help: "Time from event to first possible answer.", labels: [], services: ["gateway"], buckets: fast },
  adapterInfo: { kind: "gauge", name: "everlora_adapter_info", help: "1 for each live adapter.", labels: ["domain", "generation"], services: ["gateway"] },
  adapterActivated: { kind: "gauge", name: "everlora_adapter_activated_timestamp_seconds", help: "When the live adapter of a domain went live.", labels: ["domain"], services: ["gateway"] },
  adapterBytes: { kind: "gauge", name: "everlora_adapter_bytes", help: "Memory of the adapters that are loaded, in one engine process.", labels: [], services: ["gateway"] },
  adapterLeases: { kind: "gauge", name: "everlora_adapter_leases", help: "Answers in flight that hold an adapter.", labels: [], services: ["gateway"] },

  collectorEvents: { kind: "counter", name: "everlora_collector_events_total", help: "Conversations read.", labels: ["reader", "outcome"], services: ["collector"] },
  collectorDrops: { kind: "counter", name: "everlora_collector_drops_total", help: "Conversations that became no row.", labels: ["reason"], services: ["collector"] },
  collectorAnonymised: { kind: "counter", name: "everlora_collector_anonymised_total", help: "Personal data replaced.", labels: ["kind"], services: ["collector"] },
  collectorScans: { kind: "counter", name: "everlora_collector_scans_total", help: "Scans of the cache.", labels: ["outcome"], services: ["collector"], from: { outcome: ["done", "failed"] } },
  collectorLastEvent: { kind: "gauge", name: "everlora_collector_last_event_timestamp_seconds", help: "When the last conversation was read.", labels: [], services: ["collector"] },
  datasetRows: { kind: "gauge", name: "everlora_dataset_rows", help: "Rows of training data.", labels: ["domain", "split"], services: ["collector"] },
  collectorTriggers: { kind: "counter", name: "everlora_collector_triggers_total", help: "Training jobs asked for at the threshold.", labels: ["domain", "outcome"], services: ["collector"] },

  trainingRuns: { kind: "counter", name: "everlora_training_runs_total", help: "Runs ended.", labels: ["outcome"], services: ["trainer"], from: { outcome: ["published", "rejected", "failed", "cancelled"] } },
  trainingStarts: { kind: "counter", name: "everlora_training_starts_total", help: "Runs started, restarts too.", labels: [], services: ["trainer"] },
  trainingSteps: { kind: "counter", name: "everlora_training_steps_total", help: "Optimiser steps.", labels: [], services: ["trainer"] },
  trainingTokens: { kind: "counter", name: "everlora_training_tokens_total", help: "Tokens trained on, padding apart.", labels: [], services: ["trainer"] },
  trainingStepDuration: { kind: "histogram", name: "everlora_training_step_duration_seconds", help: "Time of an optimiser step.", labels: [], services: ["trainer"], buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] },
  trainingLoss: { kind: "gauge", name: "everlora_training_loss", help: "Loss in nats a token of the run in progress.", labels: ["domain", "split"], services: ["trainer"] },
  trainingDuration: { kind: "histogram", name: "everlora_training_run_duration_seconds", help: "Time of a run.", labels: ["outcome"], services: ["trainer"], buckets: slow },
  trainingProgress: { kind: "gauge", name: "everlora_training_progress_ratio", help: "Share of the steps of the run in progress.", labels: ["domain"], services: ["trainer"] },
  heldOutLoss: { kind: "gauge", name: "everlora_training_held_out_loss", help: "Held-out loss in nats a token of the last evaluation.", labels: ["domain", "model"], services: ["trainer"] },
  trainingLastSuccess: { kind: "gauge", name: "everlora_training_last_success_timestamp_seconds", help: "When an adapter was last published.", labels: ["domain"], services: ["trainer"] },
  jobsStalled: { kind: "counter", name: "everlora_jobs_stalled_total", help: "Jobs whose worker vanished.", labels: [], services: ["trainer"] },

  jobs: { kind: "gauge", name: "everlora_jobs", help: "Jobs in the queue fine-tune.", labels: ["state"], services: ["control"] },
  triggers: { kind: "counter", name: "everlora_triggers_total", help: "Training jobs asked for by hand or by schedule.", labels: ["reason", "outcome"], services: ["control"] },
  cronRuns: { kind: "counter", name: "everlora_cron_runs_total", help: "Cycles of the schedule.", labels: ["outcome"], services: ["control"], from: { outcome: ["ran", "failed"] } },
  sseClients: { kind: "gauge", name: "everlora_sse_clients", help: "Open event streams.", labels: [], services: ["control"] },
  rollbacks: { kind: "counter", name: "everlora_adapter_rollbacks_total", help: "Adapters taken back.", labels: ["domain"], services: ["control"] },
} as const satisfies Record<string, MetricRow>;

type Table = typeof metricsTable;
type Instance<R extends MetricRow> = R["kind"] extends "counter" ? Counter<R["labels"][number]> : R["kind"] extends "gauge" ? Gauge<R["labels"][number]> : Histogram<R["labels"][number]>;
type NamesOf<S extends Service> = { [Name in keyof Table]: S extends Table[Name]["services"][number] ? Name : never }[keyof Table];
export type Metrics<S extends Service> = { readonly [Name in NamesOf<S>]: Instance<Table[Name]> } & { readonly registry: Registry };
/** What every service has: enough for shared/http. */
export type CommonMetrics = Pick<Metrics<Service>, "httpRequests" | "httpDuration" | "httpInFlight" | "authFailures" | "registry">;

function withSeries(counter: Counter, from: MetricRow["from"] = {}): Counter {
  let series: Record<string, string>[] = [{}];
  for (const [label, values] of Object.entries(from)) series = series.flatMap((each) => values.map((value) => ({ ...each, [label]: value })));
  if (Object.keys(from).length > 0) for (const labels of series) counter.inc(labels, 0);
  return counter;
}

/** The metrics of one service in a registry of its own (two services in one process, as in tests, don't meet). */
export function createMetrics<S extends Service>(service: S): Metrics<S> {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  const made: Record<string, unknown> = { registry };
  for (const [key, row] of Object.entries<MetricRow>(metricsTable)) {
    if (!row.services.includes(service)) continue;
    const config = { name: row.name, help: row.help, labelNames: [...row.labels], registers: [registry] };
    made[key] = row.kind === "counter" ? withSeries(new Counter(config), row.from) : row.kind === "gauge" ? new Gauge(config) : new Histogram({ ...config, buckets: [...(row.buckets ?? fast)] });
  }
  return made as Metrics<S>;
}
