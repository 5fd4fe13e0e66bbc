/** The demo's result as a person reads it. */
import { sideBySide, table } from "../terminal/table.ts";
import type { Paint } from "../terminal/style.ts";
import type { Comparison } from "./comparison.ts";
import type { DomainReport } from "./report.ts";

const columns = [
  { title: "domain" },
  { title: "found", align: "right" },
  { title: "dropped" },
  { title: "rows", align: "right" },
  { title: "training loss", align: "right" },
  { title: "held-out loss", align: "right" },
  { title: "decision" },
  { title: "first answer", align: "right" },
] as const;

export function printDomains(reports: readonly DomainReport[]): string {
  return table(
    columns,
    reports.map(({ domain, found, dropped, rows, run, live }) => [
      domain,
      String(found),
      countsText(dropped),
      `${rows.total} (${rows.heldOut} held out)`,
      arrow(run?.losses?.first, run?.losses?.last),
      arrow(run?.heldOut?.base, run?.heldOut?.adapter),
      decisionText(run),
      live?.firstAnswerMs == null ? "-" : `${live.firstAnswerMs} ms`,
    ]),
  ).join("\n");
}

/** Why a run did not lead to an adapter; the gate's own sentences. */
export function printReasons(reports: readonly DomainReport[]): string {
  return reports
    .flatMap(({ domain, run }) => {
      if (run === null || run.state === "published") return [];
      if (run.error !== null) return [`${domain}: ${run.error}`];
      return run.reasons.map((reason) => `${domain}: ${reason}`);
    })
    .join("\n");
}

export function printComparison({ domain, generation, model, question, reference, base, adapter }: Comparison, paint: Paint, width: number): string {
  const column = Math.max(30, Math.min(70, Math.floor((width - 5) / 2)));
  const title = (name: string, { loss }: { loss: number | null }) => `${name}${loss === null ? "" : ` (loss on the reference ${loss.toFixed(3)})`}`;
  return [
    `${paint("A held-out question", "bold")}, which no training has seen (${domain}):`,
    ...indented(question),
    "The reference answer:",
    ...indented(reference),
    "",
    ...sideBySide({ title: title(model, base), text: base.answer.trim() }, { title: title(`${domain}@${generation}`, adapter), text: adapter.answer.trim() }, column),
  ].join("\n");
}

function decisionText(run: DomainReport["run"]): string {
  if (run === null) return "not trained";
  if (run.decision === null) return run.state;
  return run.decision === "publish" ? "published" : "rejected";
}

const countsText = (counts: Readonly<Record<string, number>>) =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, count]) => `${count} ${reason}`)
    .join("\n") || "-";

const arrow = (from: number | undefined, to: number | undefined) => (from === undefined || to === undefined ? "-" : `${from.toFixed(3)} → ${to.toFixed(3)}`);

const indented = (text: string) => text.split("\n").map((line) => `  ${line}`);
