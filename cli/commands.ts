/** Every command, in the order in which help lists them. A new one is a file beside this and a row here. */
import type { Command } from "commander";
import { registerAnonymise } from "./anonymise.ts";
import { registerCollect } from "./collect.ts";
import { registerConvert } from "./convert.ts";
import { registerDemo } from "./demo.ts";
import { registerDomains } from "./domains.ts";
import { registerExport } from "./export.ts";
import { registerForget } from "./forget.ts";
import { registerImport } from "./import.ts";
import { registerPretrain } from "./pretrain.ts";
import { registerPull } from "./pull.ts";
import { registerSettings } from "./settings.ts";
import { registerTest } from "./test.ts";
import { registerUp } from "./up.ts";
import { registerValidate } from "./validate.ts";

export const commands: readonly ((program: Command) => void)[] = [
  registerUp,
  registerDemo,
  registerCollect,
  registerExport,
  registerForget,
  registerImport,
  registerValidate,
  registerAnonymise,
  registerDomains,
  registerConvert,
  registerPull,
  registerPretrain,
  registerTest,
  registerSettings,
];
