/** `everlora forget`: by this process, or by the collector that is running. */
import type { Settings } from "../../../shared/config/settings.ts";
import type { DataCommand, DataReport } from "../../../shared/datasets/commands.ts";
import type { Logger } from "../../../shared/log/log.ts";
import type { Selector } from "../forget/forget.ts";
import { openTarget } from "./target.ts";

type Command = Extract<DataCommand, { command: "forget" }>;

export async function forget({ caller, row, match, dryRun }: Command, settings: Settings, log: Logger): Promise<DataReport> {
  const selector: Selector = { ...(caller === undefined ? {} : { caller }), ...(row === undefined ? {} : { row }), ...(match === undefined ? {} : { match }) };
  const target = await openTarget(settings, log, false);
  try {
    return await target.forget(selector, dryRun);
  } finally {
    await target.close();
  }
}
