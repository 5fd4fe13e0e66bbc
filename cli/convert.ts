/** `everlora convert`: an adapter in the form that another program opens. */
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { pathsOf } from "../shared/config/paths.ts";
import { loadSettings } from "../shared/config/settings.ts";
import { EverloraError } from "../shared/errors/errors.ts";
import { exportFormats, isExportFormat } from "../shared/export/formats.ts";
import { readLive, verifyAdapter } from "../shared/peft/registry.ts";
import { command } from "./terminal/report_error.ts";

interface Options {
  readonly domain: string;
  readonly generation?: string;
  readonly to: string;
  readonly out: string;
  readonly json?: boolean;
}

export function registerConvert(program: Command): void {
  program
    .command("convert")
    .description("write an adapter in another program's form")
    .requiredOption("--domain <name>", "whose adapter")
    .option("--generation <id>", "which one (default: the live one)")
    .requiredOption("--to <form>", Object.entries(exportFormats).map(([name, { about }]) => `${name} (${about})`).join(", "))
    .requiredOption("--out <path>", "where to write it")
    .option("--json", "one JSON object on stdout")
    .addHelpText(
      "after",
      `
An adapter as it lies in loras/<domain>/<generation>/ is a PEFT folder already: PEFT, vLLM and LoRAX open it as it is. This is for the others.

Examples:
  ./everlora convert --domain legal --to gguf --out legal.gguf        llama-server -m base.gguf --lora legal.gguf
  ./everlora convert --domain legal --to merged --out legal-model     transformers, vLLM, llama.cpp's converter
  ./everlora convert --domain legal --to onnx --out legal-onnx        ONNX Runtime`,
    )
    .action(command(convert));
}

async function convert({ domain, generation, to, out, json }: Options): Promise<number> {
  if (!isExportFormat(to)) throw new EverloraError("unprocessable", `--to ${to} is no form that can be written.`, { param: "to", hint: `Choose one of: ${Object.keys(exportFormats).join(", ")}.` });
  if (!/^[\w-]+$/.test(domain) || (generation !== undefined && !/^[0-9a-f]{12}$/.test(generation))) throw new EverloraError("adapter_not_found", `There is no adapter ${domain}${generation === undefined ? "" : `@${generation}`}.`, { param: "domain" });
  const paths = pathsOf(loadSettings());
  const chosen = generation ?? (await readLive(paths.loras, domain))?.generation ?? null;
  if (chosen === null) throw new EverloraError("adapter_not_found", `${domain} has no live adapter.`, { param: "domain", hint: "Name one with --generation, or train one first." });
  const folder = join(paths.loras, domain, chosen);
  await verifyAdapter(folder);
  const [{ openModelFolder }, { readAdapter }] = await Promise.all([import("../shared/models/folder.ts"), import("../shared/peft/adapter.ts")]);
  const base = await openModelFolder(paths.baseModel);
  const target = resolve(out);
  await exportFormats[to].write(target, base, await readAdapter(folder, base.config));
  process.stdout.write(json === true ? `${JSON.stringify({ domain, generation: chosen, to, out: target })}\n` : `${domain}@${chosen} is in ${target}\n`);
  return 0;
}
