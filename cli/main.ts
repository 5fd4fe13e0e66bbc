/** The command-line program: wires the commands. Started by the launcher, ./everlora. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { z } from "zod";
import { projectRoot } from "../shared/config/settings.ts";
import { commands } from "./commands.ts";

const { version, description } = z.object({ version: z.string(), description: z.string() }).parse(JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8")));

const program = new Command("everlora")
  .description(description)
  .version(version)
  .showHelpAfterError("(./everlora --help lists the commands, ./everlora <command> --help explains one)")
  .addHelpText("after", "\nFirst steps:\n  ./everlora demo     the whole loop on bundled conversations, in a few minutes, touching nothing else\n  ./everlora up       run it; then point an OpenAI client at the printed URL");

// A command that is named is the only one that is loaded; help, and what is no command, want all of them.
const named = commands.filter(({ name }) => name === process.argv[2]);
for (const { load } of named.length > 0 ? named : commands) (await load())(program);

await program.parseAsync();
