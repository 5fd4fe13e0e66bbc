/**
 * What `up` looks at before it starts anything: settings that are fine one by one and yet can't work here. Each would be refused by a service, too, but later: when
 * it has loaded a model, or in the middle of a training. Not responsible for values by themselves (shared/config/settings.ts) nor for what only a start can tell.
 */
import { pathsOf } from "../../shared/config/paths.ts";
import { settingsTable, type Settings } from "../../shared/config/settings.ts";
import { EverloraError, messageOf } from "../../shared/errors/errors.ts";
import { parseBertConfig } from "../../shared/models/bert_config.ts";
import { readJson, readModelConfig } from "../../shared/models/folder.ts";
import { targetsOf } from "../../shared/peft/target_groups.ts";

/** @throws EverloraError invalid_settings that names every setting at fault, its value and what is wrong, at once */
export async function preflight(settings: Settings): Promise<void> {
  const faults: string[] = [];
  const check = async (name: keyof Settings, look: () => unknown): Promise<void> => {
    try {
      await look();
    } catch (error) {
      // The model's own layers say more than the setting's help; a folder's reader does not know which setting named it.
      const mend = error instanceof EverloraError && name === "LORA_TARGETS" ? error.hint : settingsTable[name].help;
      faults.push(`${name}=${JSON.stringify(settings[name])}: ${messageOf(error)} (${mend})`);
    }
  };
  await check("BASE_MODEL", async () => {
    const config = await readModelConfig(pathsOf(settings).baseModel);
    await check("LORA_TARGETS", () => targetsOf(settings.LORA_TARGETS, config));
  });
  const { EMBEDDING_MODEL: embedding } = settings;
  if (embedding !== undefined) await check("EMBEDDING_MODEL", async () => parseBertConfig(await readJson(embedding, "config.json"), embedding));
  const ports = ["GATEWAY_PORT", "COLLECTOR_PORT", "TRAINER_PORT", "CONTROL_PORT"] as const;
  for (const [at, name] of ports.entries()) {
    const other = ports.slice(0, at).find((each) => settings[each] === settings[name] && settings[name] !== 0);
    if (other !== undefined) faults.push(`${name}=${settings[name]}: ${other} is the same; each service needs a port of its own, or 0 for a free one`);
  }
  if (faults.length > 0) throw new EverloraError("invalid_settings", faults.join("; "));
}
