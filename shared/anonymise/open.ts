/** The anonymiser as the settings want it: the user's recognisers beside the bundled ones, placeholders or surrogates. */
import { pathsOf } from "../config/paths.ts";
import type { Settings } from "../config/settings.ts";
import { createAnonymiser, type Anonymiser } from "./anonymiser.ts";
import { loadSalt } from "./salt.ts";
import { createSurrogates } from "./surrogates.ts";
import { loadRecognisers } from "./user_recognisers.ts";

/** @throws EverloraError invalid_settings for a recognisers.json or a salt that can't be used */
export async function openAnonymiser(settings: Pick<Settings, "DATA_DIR" | "BASE_MODEL" | "ANONYMISE_AS">): Promise<Anonymiser> {
  const recognisers = loadRecognisers(settings.DATA_DIR);
  if (settings.ANONYMISE_AS === "placeholders") return createAnonymiser(recognisers);
  return createAnonymiser(recognisers, createSurrogates(await loadSalt(pathsOf(settings).state)));
}
