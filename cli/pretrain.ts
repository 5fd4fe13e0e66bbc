/** `everlora pretrain`: its options. The work is in pretrain/, which is loaded only when it is wanted: it brings the whole engine. */
import { cpus } from "node:os";
import { InvalidArgumentError, Option, type Command } from "commander";
import { computeDevices } from "../shared/config/devices.ts";
import type { PretrainOptions } from "./pretrain/pretrain.ts";
import { command } from "./terminal/report_error.ts";

export function registerPretrain(program: Command): void {
  program
    .command("pretrain")
    .description("pre-train a small base model on folders of text, with everlora's own engine")
    .requiredOption("--data <folders...>", "folders with .txt, .md, .json, .jsonl or .conll files")
    .requiredOption("--out <folder>", "the model folder to write; its last part is the model's name")
    .option("--tokens <n>", "tokens to train on", count, 7_000_000)
    .option("--vocabulary <n>", "size of the vocabulary", count, 5_120)
    .option("--width <n>", "hidden size", count, 256)
    .option("--layers <n>", "transformer blocks", count, 6)
    .option("--length <n>", "positions of a sequence", count, 512)
    .option("--rows <n>", "sequences in a step", count, 4)
    .option("--learning-rate <x>", "peak learning rate", positive, 3e-3)
    .option("--seed <n>", "seed of weights and shuffling", count, 17)
    .option("--threads <n>", "compute threads", count, cpus().length)
    .addOption(new Option("--device <name>", "where it runs, as COMPUTE_DEVICE has it").choices(computeDevices).default("auto"))
    .addHelpText("after", "\nWrites the tokenizer, the weights and a card that says from what and how. The bundled model was made by:\n  ./everlora pretrain --data <folders of text> --out base_models/everlora-tiny")
    .action(
      command(async (options: PretrainOptions) => {
        const { pretrain } = await import("./pretrain/pretrain.ts");
        await pretrain(options, (line) => process.stderr.write(`${line}\n`));
        return 0;
      }),
    );
}

function count(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError("It must be a whole number above 0.");
  return Number(text);
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("It must be a number above 0.");
  return value;
}
