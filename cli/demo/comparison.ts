/** One question that no training has seen, answered by the base and by the adapter. */
import type { Paths } from "../../shared/config/paths.ts";
import type { Row } from "../../shared/datasets/row.ts";
import { textOf } from "../../shared/events/conversation.ts";
import type { ComparisonReply, DemoClient } from "./client.ts";
import { rowsOf, type DomainReport } from "./report.ts";

export interface Comparison extends ComparisonReply {
  readonly row: string;
  readonly question: string;
  readonly reference: string;
}

const longestAnswer = 96;

/** In the domain whose held-out loss fell most; null when none went live. */
export async function compareBest(reports: readonly DomainReport[], paths: Paths, client: DemoClient): Promise<Comparison | null> {
  const gain = ({ run }: DomainReport) => (run?.heldOut == null ? 0 : run.heldOut.base - run.heldOut.adapter);
  const [best] = reports.filter(({ live }) => live !== null).sort((a, b) => gain(b) - gain(a));
  if (best === undefined) return null;
  const row = chooseRow(await rowsOf(paths.trainingData, best.domain));
  const answer = row?.messages.at(-1);
  if (row === undefined || answer === undefined) return null;
  const prompt = row.messages.slice(0, -1);
  const reply = await client.compare(best.domain, prompt, textOf(answer), longestAnswer);
  const last = prompt.findLast(({ role }) => role === "user");
  return { ...reply, row: row.id, question: last === undefined ? "" : textOf(last), reference: textOf(answer) };
}

/** A held-out row of one question and one answer, of middle length: neither trivial nor too long to show. */
function chooseRow(rows: readonly Row[]): Row | undefined {
  const length = ({ messages }: Row) => messages.reduce((sum, message) => sum + textOf(message).length, 0);
  const heldOut = rows.filter(({ split }) => split === "held-out").sort((a, b) => length(a) - length(b) || (a.id < b.id ? -1 : 1));
  const single = heldOut.filter(({ messages }) => messages.length === 2);
  const candidates = single.length > 0 ? single : heldOut;
  return candidates[Math.floor(candidates.length / 2)];
}
