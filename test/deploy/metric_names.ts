/** Which metrics a PromQL expression names, and with which labels. Enough of the language for the expressions that we write. */
import { createMetrics, metricsTable, type Service } from "../../shared/metrics/metrics.ts";

export interface Use {
  readonly metric: string;
  readonly labels: readonly string[];
}

/** Metric name → its own labels; the ones that Prometheus and prom-client add to every series are apart. */
export async function knownMetrics(): Promise<ReadonlyMap<string, readonly string[]>> {
  const known = new Map<string, readonly string[]>([["up", []]]);
  for (const service of ["gateway", "collector", "trainer", "control"] satisfies Service[]) {
    for (const { name, type } of await createMetrics(service).registry.getMetricsAsJSON()) {
      const labels = Object.values(metricsTable).find((row) => row.name === name)?.labels ?? [];
      const series = String(type) === "histogram" ? ["_bucket", "_sum", "_count"].map((suffix) => name + suffix) : [name];
      for (const each of series) known.set(each, labels);
    }
  }
  return known;
}

const words = /[a-zA-Z_:][\w:]*/g;
const notMetrics = /^(sum|max|min|avg|count|rate|increase|changes|time|vector|histogram_quantile|by|on|and|or|unless|le|without|bool|__rate_interval|[smhdw])$/;

/** Metrics outside of braces and label lists; labels of `{…}` and `by (…)`, which we only write beside the metric that they belong to. */
export function usesOf(expression: string): Use[] {
  const labels = [...expression.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g), ...expression.matchAll(/\b(?:by|on|without)\s*\(([^)]*)\)/g)].flatMap((match) => (match[1] ?? "").match(words) ?? []);
  const bare = expression
    .replaceAll(/\{[^}]*\}/g, "")
    .replaceAll(/\[[^\]]*\]/g, "")
    .replaceAll(/\b(by|on|without)\s*\([^)]*\)/g, "$1");
  const metrics = [...new Set(bare.match(words) ?? [])].filter((word) => !notMetrics.test(word));
  return metrics.map((metric) => ({ metric, labels }));
}
