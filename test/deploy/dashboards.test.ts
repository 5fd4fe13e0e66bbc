/** Every expression of dashboards and alerts names metrics and labels that exist, and the files are what Grafana and Prometheus expect. */
import assert from "node:assert/strict";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { z } from "zod";
import { projectRoot, settingsTable } from "../../shared/config/settings.ts";
import { createMetrics, type Service } from "../../shared/metrics/metrics.ts";
import { temporaryFolder } from "../support/folder.ts";
import { runProgram } from "../support/programs.ts";
import { knownMetrics, usesOf } from "./metric_names.ts";

const grafana = join(projectRoot, "grafana");
const readYaml = async (...path: string[]): Promise<unknown> => parse(await readFile(join(grafana, ...path), "utf8"));

const targetSchema = z.object({ expr: z.string(), refId: z.string(), datasource: z.object({ uid: z.string() }) });
const panelSchema = z.object({
  id: z.int(),
  type: z.string(),
  title: z.string().min(1),
  gridPos: z.object({ x: z.int(), y: z.int(), w: z.int(), h: z.int() }),
  targets: z.array(targetSchema).optional(),
});
const dashboardSchema = z.object({ uid: z.string(), title: z.string(), panels: z.array(panelSchema), annotations: z.object({ list: z.array(z.object({ expr: z.string(), datasource: z.object({ uid: z.string() }) })) }) });
const alertsSchema = z.object({
  groups: z.array(z.object({ rules: z.array(z.object({ alert: z.string(), expr: z.string(), labels: z.object({ severity: z.enum(["warning", "critical"]) }), annotations: z.object({ summary: z.string(), action: z.string() }) })) })),
});

async function dashboards() {
  const names = (await readdir(join(grafana, "dashboards"))).filter((name) => name.endsWith(".json"));
  return Promise.all(names.map(async (name) => dashboardSchema.parse(JSON.parse(await readFile(join(grafana, "dashboards", name), "utf8")))));
}

/** What is wrong with an expression. */
async function faultsOf(where: string, expression: string): Promise<string[]> {
  const known = await knownMetrics();
  const added = new Set(["service", "instance", "job", "le"]);
  const uses = usesOf(expression);
  if (uses.length === 0) return [`${where}: names no metric: ${expression}`];
  const allowed = new Set([...added, ...uses.flatMap(({ metric }) => known.get(metric) ?? [])]);
  return uses.flatMap(({ metric, labels }) => [...(known.has(metric) ? [] : [`${where}: there is no metric ${metric}`]), ...labels.filter((label) => !allowed.has(label)).map((label) => `${where}: ${metric} has no label ${label}`)]);
}

test("every metric and label of the dashboards exists", async () => {
  const all = await dashboards();
  assert.ok(all.length > 0);
  for (const { title, panels, annotations } of all) {
    const expressions = [...panels.flatMap((panel) => (panel.targets ?? []).map(({ expr }) => [`${title} / ${panel.title}`, expr] as const)), ...annotations.list.map(({ expr }) => [`${title} / annotations`, expr] as const)];
    assert.ok(expressions.length > 20);
    for (const [where, expression] of expressions) assert.deepEqual(await faultsOf(where, expression), []);
  }
});

test("every metric and label of the alerts exists, and each alert says what to do", async () => {
  const { groups } = alertsSchema.parse(await readYaml("alerts.yml"));
  const rules = groups.flatMap((group) => group.rules);
  assert.ok(rules.length >= 10);
  for (const { alert, expr } of rules) assert.deepEqual(await faultsOf(alert, expr), []);
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
});

test("what is shown covers what is measured: each of our metrics is in a panel or an alert", async () => {
  const { groups } = alertsSchema.parse(await readYaml("alerts.yml"));
  const expressions = [...(await dashboards()).flatMap(({ panels, annotations }) => [...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)), ...annotations.list.map(({ expr }) => expr)]), ...groups.flatMap(({ rules }) => rules.map(({ expr }) => expr))];
  const shown = new Set(expressions.flatMap((expression) => usesOf(expression).map(({ metric }) => metric.replace(/_(bucket|sum|count)$/, ""))));
  const families = ["inference", "cache", "collector", "dataset", "training", "jobs", "adapter", "http", "auth", "engine"];
  for (const family of families) {
    assert.ok(
      [...shown].some((metric) => metric.startsWith(`everlora_${family}`)),
      family,
    );
  }
});

test("the dashboards use the provisioned data source, and no two panels share a place or a number", async () => {
  const { datasources } = z.object({ datasources: z.array(z.object({ uid: z.string() })) }).parse(await readYaml("provisioning", "datasources", "prometheus.yml"));
  for (const { panels, annotations } of await dashboards()) {
    const used = new Set([...panels.flatMap(({ targets = [] }) => targets.map(({ datasource }) => datasource.uid)), ...annotations.list.map(({ datasource }) => datasource.uid)]);
    assert.deepEqual(
      [...used],
      datasources.map(({ uid }) => uid),
    );
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) => Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`));
    assert.equal(new Set(cells).size, cells.length);
    assert.ok(panels.every(({ gridPos: { x, w } }) => x + w <= 24));
  }
});

test("Prometheus scrapes the four services at their default ports", async () => {
  const { scrape_configs: jobs } = z.object({ scrape_configs: z.array(z.object({ authorization: z.object({ credentials_file: z.string() }), static_configs: z.array(z.object({ targets: z.array(z.string()) })) })) }).parse(await readYaml("prometheus.yml"));
  const targets = jobs.flatMap((job) => job.static_configs.flatMap((config) => config.targets));
  assert.deepEqual(targets, [`gateway:${settingsTable.GATEWAY_PORT.default}`, `collector:${settingsTable.COLLECTOR_PORT.default}`, `trainer:${settingsTable.TRAINER_PORT.default}`, `control:${settingsTable.CONTROL_PORT.default}`]);
});

test("promtool accepts configuration, alerts and the metrics of each service", async (context) => {
  if (runProgram("promtool", ["--version"]) === undefined) {
    context.skip("promtool is not installed (Debian's package prometheus has it)");
    return;
  }
  const folder = await temporaryFolder(context, "prometheus");
  // The key's file is there in the container only.
  await writeFile(join(folder, "api_key"), "key");
  await writeFile(join(folder, "prometheus.yml"), (await readFile(join(grafana, "prometheus.yml"), "utf8")).replace("/run/secrets/api_key", join(folder, "api_key")));
  await writeFile(join(folder, "alerts.yml"), await readFile(join(grafana, "alerts.yml"), "utf8"));
  const config = runProgram("promtool", ["check", "config", join(folder, "prometheus.yml")]);
  assert.equal(config?.code, 0, config?.output ?? "");
  for (const service of ["gateway", "collector", "trainer", "control"] satisfies Service[]) {
    const lint = runProgram("promtool", ["check", "metrics"], await createMetrics(service).registry.metrics());
    // prom-client's own nodejs_… metrics break the rules; ours must not.
    const ours = lint?.output.split("\n").filter((line) => line.startsWith("everlora_"));
    assert.deepEqual(ours, [], service);
  }
});

test("the reader of expressions finds metrics and labels", () => {
  assert.deepEqual(usesOf('histogram_quantile(0.9, sum by (le, domain) (rate(a_bucket{x="1", y=~"b|c"}[5m]))) / max(other) > 0.5'), [
    { metric: "a_bucket", labels: ["x", "y", "le", "domain"] },
    { metric: "other", labels: ["x", "y", "le", "domain"] },
  ]);
});
