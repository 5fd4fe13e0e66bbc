/**
 * Which stored adapter a client means: `domain/generation`, `domain@generation`, or a path. Nothing from a client becomes a path: a path is only compared
 * with where the adapters lie, after all links in it were followed.
 */
import { readdir, realpath } from "node:fs/promises";
import { isAbsolute, join, relative, sep } from "node:path";
import { EverloraError } from "../../../shared/errors/errors.ts";
import { domainNameSchema, generationSchema } from "../../../shared/events/streams.ts";

export interface AdapterName {
  readonly domain: string;
  readonly generation: string;
}

/** @throws EverloraError invalid_request when it names nothing inside `loras` */
export async function readAdapterName(loras: string, text: string): Promise<AdapterName> {
  const named = splitName(text, /[/@]/);
  if (named !== undefined) return named;
  const refused = new EverloraError("invalid_request", `lora_path: ${JSON.stringify(text.slice(0, 200))} is no adapter of this gateway.`, { param: "lora_path", hint: "Name it as domain/generation, or by the path of a folder inside loras/." });
  if (!isAbsolute(text) || text.includes("\0")) throw refused;
  const root = await realpath(loras).catch(() => loras);
  const real = await realpath(text).catch(() => undefined);
  const inside = real === undefined ? undefined : splitName(relative(root, real), sep);
  if (inside === undefined) throw refused;
  return inside;
}

/** The folder of a stored adapter. @throws EverloraError model_not_found when there is none, adapter_corrupted when it is a link to elsewhere */
export async function adapterFolder(loras: string, { domain, generation }: AdapterName): Promise<string> {
  const folder = join(loras, domainNameSchema.parse(domain), generationSchema.parse(generation));
  const [root, real, files] = await Promise.all([realpath(loras).catch(() => undefined), realpath(folder).catch(() => undefined), readdir(folder).catch(() => [])]);
  if (root === undefined || real === undefined || files.length === 0) throw new EverloraError("model_not_found", `There is no adapter ${domain}@${generation}.`, { param: "model" });
  if (real !== join(root, domain, generation)) throw new EverloraError("adapter_corrupted", `The folder of ${domain}@${generation} is a link to somewhere else.`);
  return folder;
}

function splitName(text: string, separator: RegExp | string): AdapterName | undefined {
  const [domain, generation, ...more] = text.split(separator);
  const good = more.length === 0 && domainNameSchema.safeParse(domain).success && generationSchema.safeParse(generation).success;
  return good && domain !== undefined && generation !== undefined ? { domain, generation } : undefined;
}
