/** Grafana's queries and the alerts, given to a real Prometheus that scrapes a real everlora with the configuration that we ship. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { z } from "zod";
import { projectRoot } from "../../shared/config/settings.ts";
import { createMetrics, metricsTable, type Service } from "../../shared/metrics/metrics.ts";
import { everlora } from "../support/command_line.ts";
import { temporaryFolder } from "../support/folder.ts";
import { runProgram } from "../support/programs.ts";
import { freePort } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { usesOf } from "./metric_names.ts";

const grafana = join(projectRoot, "grafana");
const key = "test-key-0123456789";
const dashboardSchema = z.object({ panels: z.array(z.object({ targets: z.array(z.object({ expr: z.string() })).optional() })) });
const alertsSchema = z.object({ groups: z.array(z.object({ rules: z.array(z.object({ alert: z.string(), expr: z.string(), labels: z.record(z.string(), z.string()), annotations: z.object({ summary: z.string(), action: z.string() }) })) })) });
const rules = alertsSchema.parse(parse(await readFile(join(grafana, "alerts.yml"), "utf8"))).groups.flatMap((group) => group.rules);
const missing = (program: string) => (runProgram(program, ["--version"]) === undefined ? `${program} is not installed (Debian's package prometheus has it)` : false);

/** Each `{metric, labels}` of a table's row that exists from the start. */
async function seriesFromTheStart(): Promise<Set<string>> {
  const all = new Set<string>();
  for (const service of ["gateway", "collector", "trainer", "control"] satisfies Service[]) {
    for (const { name, values } of await createMetrics(service).registry.getMetricsAsJSON()) {
      for (const { labels } of values) for (const [label, value] of Object.entries(labels)) all.add(`${name} ${label}=${String(value)}`);
    }
  }
  return all;
}

test("every counter that an alert watches is there, at 0, before it first counts", async () => {
  for (const row of Object.values(metricsTable)) if ("from" in row) assert.deepEqual(Object.keys(row.from), [...row.labels], row.name);
  const there = await seriesFromTheStart();
  let looked = 0;
  for (const { alert, expr } of rules) {
    for (const [, metric = "", label = "", values = ""] of expr.matchAll(/(everlora_\w+_total)\{(\w+)=~?"([^"]+)"\}/g)) {
      for (const value of values.split("|")) {
        looked++;
        assert.ok(there.has(`${metric} ${label}=${value}`), `${alert}: ${metric}{${label}="${value}"}`);
      }
    }
  }
  assert.ok(looked >= 6);
});

/** For each alert the series that make it fire, in promtool's notation with a value a minute, and what it says then. */
const fires: Record<string, { series: Record<string, string>; at: string; summary: string; labels?: Record<string, string> }> = {
  EverloraServiceDown: { series: { 'up{job="everlora",instance="trainer:8082"}': "1 0x10" }, at: "5m", summary: "trainer:8082 does not answer", labels: { job: "everlora", instance: "trainer:8082" } },
  EverloraAnswersFail: { series: { 'everlora_inference_requests_total{source="base",outcome="ok"}': "0+90x30", 'everlora_inference_requests_total{source="base",outcome="error"}': "0+10x30" }, at: "20m", summary: "10% of the answers fail" },
  EverloraEngineRestarts: { series: { everlora_engine_restarts_total: "0 1 2 4x20" }, at: "10m", summary: "The engine was started again 4 times within 15 minutes" },
  EverloraAdapterRefused: { series: { 'everlora_adapter_loads_total{outcome="refused"}': "0x5 1x20" }, at: "10m", summary: "An adapter could not be loaded; the one before it goes on answering", labels: { outcome: "refused" } },
  EverloraConversationsLost: { series: { 'everlora_conversations_recorded_total{outcome="lost"}': "0x5 1x20" }, at: "10m", summary: "Answers could not be put on the stream", labels: { outcome: "lost" } },
  EverloraScansFail: { series: { 'everlora_collector_scans_total{outcome="failed"}': "0x5 1 2 3 4x20" }, at: "15m", summary: "The collector can't read the cache", labels: { outcome: "failed" } },
  EverloraTrainingFails: { series: { 'everlora_training_runs_total{outcome="failed"}': "0x5 1x20" }, at: "10m", summary: "A training run failed", labels: { outcome: "failed" } },
  EverloraJobsStall: { series: { everlora_jobs_stalled_total: "0x5 1x20" }, at: "10m", summary: "A trainer vanished in the middle of a run; the run starts again by itself" },
  EverloraNoTraining: { series: { 'everlora_training_last_success_timestamp_seconds{domain="legal"}': "1x22000" }, at: "15d", summary: "No adapter was published for two weeks" },
  EverloraQueueWaits: { series: { 'everlora_jobs{state="waiting"}': "2x30", 'everlora_jobs{state="active"}': "0x30" }, at: "20m", summary: "Training jobs wait and nobody works on them", labels: { state: "waiting" } },
  EverloraEventLoopLags: { series: { 'nodejs_eventloop_lag_p99_seconds{job="everlora",service="gateway"}': "0.5x20" }, at: "15m", summary: "gateway is 500ms late in what it does", labels: { job: "everlora", service: "gateway" } },
  EverloraKeysGuessed: { series: { 'everlora_auth_failures_total{kind="invalid"}': "0+120x20" }, at: "15m", summary: "2 requests a second bring a wrong key" },
};

test("each alert fires when it should, from the first event on, and says what it means", { skip: missing("promtool") }, async (context) => {
  assert.deepEqual(Object.keys(fires).sort(), rules.map(({ alert }) => alert).sort());
  const folder = await temporaryFolder(context, "prometheus");
  const tests = rules.map(({ alert, labels, annotations }) => {
    const { series, at, summary, labels: own = {} } = fires[alert] ?? assert.fail(alert);
    return {
      interval: "1m",
      input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
      alert_rule_test: [
        { eval_time: "0m", alertname: alert, exp_alerts: [] },
        { eval_time: at, alertname: alert, exp_alerts: [{ exp_labels: { ...own, severity: labels["severity"] }, exp_annotations: { summary, action: annotations.action } }] },
      ],
    };
  });
  await writeFile(join(folder, "alerts.yml"), await readFile(join(grafana, "alerts.yml"), "utf8"));
  await writeFile(join(folder, "tests.yml"), JSON.stringify({ rule_files: ["alerts.yml"], evaluation_interval: "1m", tests }));
  const outcome = runProgram("promtool", ["test", "rules", join(folder, "tests.yml")]);
  assert.equal(outcome?.code, 0, outcome?.output ?? "");
});

const upSchema = z.object({ urls: z.object({ gateway: z.string(), collector: z.string(), trainer: z.string(), control: z.string() }) });

test("every metric that dashboards and alerts name is in a scrape of a running everlora, and every query can be evaluated", { skip: missing("prometheus") }, async (context) => {
  const folder = await temporaryFolder(context, "prometheus");
  const up = everlora(["up", "--json"], { DATA_DIR: folder, EVERLORA_API_KEY: key, GATEWAY_PORT: "0", COLLECTOR_PORT: "0", TRAINER_PORT: "0", CONTROL_PORT: "0" });
  context.after(async () => {
    up.child.kill("SIGTERM");
    await up.ended;
  });
  const line = await until("everlora is up", () => up.stdout().split("\n").find((each) => each.includes('"everlora is up"')), 240_000);
  const { urls } = upSchema.parse(JSON.parse(line));
  const chat = await fetch(`${urls.gateway}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: JSON.stringify({ model: "auto", max_tokens: 2, messages: [{ role: "user", content: "What is a lease?" }] }) });
  assert.equal(chat.status, 200);

  await writeFile(join(folder, "key"), key);
  await writeFile(join(folder, "alerts.yml"), await readFile(join(grafana, "alerts.yml"), "utf8"));
  const shipped = await readFile(join(grafana, "prometheus.yml"), "utf8");
  const addresses = Object.values(urls).map((url) => new URL(url).host);
  await writeFile(join(folder, "prometheus.yml"), shipped.replaceAll("15s", "1s").replace("/run/secrets/api_key", join(folder, "key")).replace(/targets: \[.*\]/, `targets: ${JSON.stringify(addresses)}`));
  const port = await freePort();
  const prometheus = spawn("prometheus", ["--config.file", join(folder, "prometheus.yml"), "--storage.tsdb.path", join(folder, "tsdb"), "--web.listen-address", `127.0.0.1:${port}`, "--log.level=error"], { stdio: "ignore" });
  const ended = new Promise((resolve) => prometheus.once("close", resolve));
  context.after(async () => {
    prometheus.kill("SIGTERM");
    await ended;
  });
  /** @returns Prometheus' `data`, or null while it is not up */
  const ask = async <T>(path: string, schema: z.ZodType<T>): Promise<T | null> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`).catch(() => null);
    if (response === null || response.status === 503) return null;
    const answer = z.looseObject({ status: z.string(), error: z.string().optional() }).parse(await response.json());
    assert.equal(answer.status, "success", `${path}: ${answer.error ?? ""}`);
    return schema.parse(answer["data"]);
  };
  const query = (expression: string) => ask(`query?query=${encodeURIComponent(expression.replaceAll("$__rate_interval", "1m"))}`, z.object({ result: z.array(z.unknown()) }));
  await until("four services scraped", async () => {
    const targets = await ask("targets?state=active", z.object({ activeTargets: z.array(z.object({ health: z.string(), lastError: z.string() })) }));
    return targets?.activeTargets.filter(({ health }) => health === "up").length === 4;
  });
  const metadata = (await ask("targets/metadata", z.array(z.object({ metric: z.string() })))) ?? [];
  const scraped = new Set(["up", ...metadata.map(({ metric }) => metric)]);

  const files = (await readdir(join(grafana, "dashboards"))).filter((name) => name.endsWith(".json"));
  const queries = (await Promise.all(files.map(async (name) => dashboardSchema.parse(JSON.parse(await readFile(join(grafana, "dashboards", name), "utf8")))))).flatMap(({ panels }) => panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)));
  assert.ok(queries.length > 30);
  for (const expression of [...queries, ...rules.map(({ expr }) => expr)]) {
    for (const { metric } of usesOf(expression)) assert.ok(scraped.has(metric) || scraped.has(metric.replace(/_(bucket|sum|count)$/, "")), `${metric} of ${expression}`);
    assert.ok((await query(expression)) !== null);
  }
  // What the one answer must show.
  for (const expression of ['everlora_inference_requests_total{source="base",outcome="ok"} == 1', "sum(everlora_cache_requests_total) >= 1", 'sum(up{job="everlora"}) == 4', "sum by (le) (everlora_inference_duration_seconds_bucket) > 0"]) {
    await until(expression, async () => ((await query(expression))?.result.length ?? 0) > 0);
  }
  await until("every alert was evaluated", async () => {
    const evaluated = await ask("rules", z.object({ groups: z.array(z.object({ rules: z.array(z.object({ health: z.string() })) })) }));
    return evaluated !== null && evaluated.groups.flatMap((group) => group.rules).filter(({ health }) => health === "ok").length === rules.length;
  });
});
