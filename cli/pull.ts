/** `everlora pull`: fetches a base model from the Hub, as `up` does before it starts anything. */
import type { Command } from "commander";
import { loadSettings } from "../shared/config/settings.ts";
import { EverloraError } from "../shared/errors/errors.ts";
import { parseModelId } from "../shared/hub/model_id.ts";
import { pullModel } from "./pull/pull_model.ts";
import { command } from "./terminal/report_error.ts";

export function registerPull(program: Command): void {
  program
    .command("pull")
    .description("fetch a base model from the Hub")
    .argument("<id>", "owner/name, or owner/name@revision")
    .option("--json", "one JSON object on stdout")
    .addHelpText(
      "after",
      `
Fetches configuration, tokenizer and safetensors weights into DATA_DIR/models, and compares each file with its checksum. An attempt that was
interrupted goes on where it ended; what is here already is not fetched again. HUB_URL names another Hub, HUB_TOKEN opens models that need one,
HUB_OFFLINE=true forbids fetching.

Example:
  ./everlora pull HuggingFaceTB/SmolLM2-135M-Instruct
  BASE_MODEL=HuggingFaceTB/SmolLM2-135M-Instruct ./everlora up     does it by itself`,
    )
    .action(command(pull));
}

async function pull(text: string, options: { json?: boolean }): Promise<number> {
  const id = parseModelId(text);
  if (id === null) throw new EverloraError("unprocessable", `${JSON.stringify(text)} is no model id.`, { param: "id", hint: "Ids look like owner/name or owner/name@revision." });
  const folder = await pullModel(id, loadSettings());
  process.stdout.write(options.json === true ? `${JSON.stringify({ id: text, folder })}\n` : `${text} is in ${folder}\n`);
  return 0;
}
