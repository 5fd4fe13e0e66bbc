/** `everlora import`: files through the same pipeline as live traffic. Good records are kept, bad ones named; to import a file twice is to import it once. */
import { loadDomains, requireDomain } from "../../../shared/domains/domains.ts";
import type { Settings } from "../../../shared/config/settings.ts";
import { addOutcome, emptyOutcome, type DataCommand, type DataReport } from "../../../shared/datasets/commands.ts";
import type { Conversation } from "../../../shared/events/conversation.ts";
import type { Logger } from "../../../shared/log/log.ts";
import { conversationOf } from "../formats/format.ts";
import { readFile } from "./read.ts";
import type { Tell } from "./run.ts";
import { openTarget } from "./target.ts";

type Command = Extract<DataCommand, { command: "import" }>;

/** Conversations, and characters of them, that are handed over at once. */
const batchSize = 512;
const batchCharacters = 1_000_000;

/** @throws EverloraError unknown_domain, unprocessable, conflict, and what keeps the data from being written */
export async function importFiles(command: Command, settings: Settings, log: Logger, tell: Tell): Promise<DataReport> {
  const began = performance.now();
  const { domain } = command;
  if (domain !== undefined) requireDomain(domain, loadDomains(settings.DATA_DIR));
  const target = await openTarget(settings, log, command.dryRun);
  const files = [];
  try {
    for (const file of command.files) {
      const outcome = emptyOutcome();
      let batch: Conversation[] = [];
      let characters = 0;
      const flush = async () => {
        if (batch.length > 0) addOutcome(outcome, await target.collect(batch));
        batch = [];
        characters = 0;
      };
      const { format, records, faults } = await readFile(file, command, tell, async (draft, { name }) => {
        const conversation = conversationOf(domain === undefined ? draft : { ...draft, domain }, name, Date.now());
        const size = JSON.stringify(conversation).length;
        if (characters + size > batchCharacters || batch.length >= batchSize) await flush();
        batch.push(conversation);
        characters += size;
      });
      await flush();
      files.push({ file, format, records, faults, outcome });
    }
  } finally {
    await target.close();
  }
  return { command: "import", dryRun: command.dryRun, files, seconds: (performance.now() - began) / 1_000 };
}
