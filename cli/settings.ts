/** `everlora settings`: every setting with its present value, where that comes from, and what it does. */
import type { Command } from "commander";
import { loadSettings, parentEnvironment, printableSettings, settingsTable } from "../shared/config/settings.ts";
import { command } from "./terminal/report_error.ts";
import { table } from "./terminal/table.ts";

interface SettingRow {
  readonly name: string;
  readonly value: string | number | boolean | null;
  readonly from: "environment" | "default";
  readonly default: string | null;
  readonly help: string;
}

export function registerSettings(program: Command): void {
  program
    .command("settings")
    .description("show every setting, its present value and what it does")
    .option("--json", "one JSON array on stdout")
    .addHelpText("after", "\nSettings are environment variables:\n  MIN_EXAMPLES_PER_DOMAIN=200 LORA_RANK=8 ./everlora up\n\nSecrets are shown as (set). A value out of range is named, with its bounds, and ends the command with 2.")
    .action(command(showSettings));
}

async function showSettings(options: { json?: boolean }): Promise<number> {
  const rows = settingRows();
  if (options.json === true) process.stdout.write(`${JSON.stringify(rows, null, 1)}\n`);
  else {
    const lines = table(
      [{ title: "setting" }, { title: "value" }, { title: "" }, { title: "what it does" }],
      rows.map(({ name, value, from, help }) => [name, value === null ? "-" : String(value), from === "environment" ? "set" : "", help]),
    );
    process.stdout.write(`${lines.join("\n")}\n`);
  }
  return 0;
}

/** @throws EverloraError invalid_settings */
function settingRows(): SettingRow[] {
  const environment = parentEnvironment();
  const values = printableSettings(loadSettings(environment));
  return Object.entries<{ default?: string; help: string }>(settingsTable).map(([name, row]) => {
    const given = environment[name];
    return { name, value: scalarOf(values[name]), from: given === undefined || given === "" ? "default" : "environment", default: row.default ?? null, help: row.help };
  });
}

/** Settings are scalars; anything else would be a mistake in the table. */
function scalarOf(value: unknown): SettingRow["value"] {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null;
}
