/**
 * Every command, in the order in which help lists them. A new one is a file beside this and a row here. Each is loaded by its own file alone: what one of them
 * needs (a Redis client, a tensor runtime) would make all others start a second later.
 */
import type { Command } from "commander";

export interface CommandRow {
  readonly name: string;
  load(this: void): Promise<(program: Command) => void>;
}

export const commands: readonly CommandRow[] = [
  { name: "up", load: async () => (await import("./up.ts")).registerUp },
  { name: "demo", load: async () => (await import("./demo.ts")).registerDemo },
  { name: "collect", load: async () => (await import("./collect.ts")).registerCollect },
  { name: "export", load: async () => (await import("./export.ts")).registerExport },
  { name: "forget", load: async () => (await import("./forget.ts")).registerForget },
  { name: "import", load: async () => (await import("./import.ts")).registerImport },
  { name: "validate", load: async () => (await import("./validate.ts")).registerValidate },
  { name: "anonymise", load: async () => (await import("./anonymise.ts")).registerAnonymise },
  { name: "domains", load: async () => (await import("./domains.ts")).registerDomains },
  { name: "convert", load: async () => (await import("./convert.ts")).registerConvert },
  { name: "pull", load: async () => (await import("./pull.ts")).registerPull },
  { name: "pretrain", load: async () => (await import("./pretrain.ts")).registerPretrain },
  { name: "test", load: async () => (await import("./test.ts")).registerTest },
  { name: "settings", load: async () => (await import("./settings.ts")).registerSettings },
];
