/**
 * The table of domains: data, not code. `domains.json` beside this file holds the bundled ones; DATA_DIR/domains.json adds the user's own, or
 * replaces a bundled one of the same name. Not responsible for sorting texts (classify.ts).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { describeIssues, EverloraError, messageOf } from "../errors/errors.ts";
import { trainingOverridesSchema } from "../events/jobs.ts";
import { domainNameSchema } from "../events/streams.ts";
import { isMissing } from "../files/missing.ts";
import { watchClassifier } from "./classifier_file.ts";
import { fallbackDomain } from "./classify.ts";

export { classify, fallbackDomain } from "./classify.ts";

/** Word or phrase → weight. All inflections match; a leading "=" asks for the word as it stands or its plural. */
const keywordsSchema = z.record(z.string().min(1), z.number().positive().max(100));
const phrasesSchema = z.array(z.string().min(1));

const domainSchema = z.strictObject({
  name: domainNameSchema,
  description: z.string().default(""),
  /** `any`: words that are the same in both languages. */
  keywords: z.strictObject({ pt: keywordsSchema.optional(), en: keywordsSchema.optional(), any: keywordsSchema.optional() }),
  /** Phrases inside which this domain's keywords don't count ("court order" is no order). */
  exclusions: z.strictObject({ pt: phrasesSchema.optional(), en: phrasesSchema.optional() }).optional(),
  /** Least score to be chosen; default 2.5. */
  minScore: z.number().positive().optional(),
  /** Instead of MIN_EXAMPLES_PER_DOMAIN. */
  minExamples: z.int().min(1).optional(),
  /** Instead of LORA_RANK and so on, for this domain's runs. */
  overrides: trainingOverridesSchema.optional(),
});
export type Domain = z.infer<typeof domainSchema>;

const bundledDomainsFile = join(import.meta.dirname, "domains.json");
const userDomainsFile = "domains.json";

/**
 * The bundled domains and, when DATA_DIR/domains.json is there, the user's. Reads files: call it once at start.
 * @throws EverloraError invalid_settings that names file and field
 */
export function loadDomains(dataDir?: string): readonly Domain[] {
  const byName = new Map(readTable(bundledDomainsFile, true).map((domain) => [domain.name, domain]));
  if (dataDir !== undefined) for (const domain of readTable(join(dataDir, userDomainsFile), false)) byName.set(domain.name, domain);
  if (!byName.has(fallbackDomain)) byName.set(fallbackDomain, { name: fallbackDomain, description: "", keywords: {} });
  const table = [...byName.values()];
  if (dataDir !== undefined) watchClassifier(table, dataDir);
  return table;
}

/** @throws EverloraError unknown_domain that lists the known ones */
export function requireDomain(name: string, domains: readonly Domain[]): Domain {
  const domain = domains.find((candidate) => candidate.name === name);
  if (domain !== undefined) return domain;
  throw new EverloraError("unknown_domain", `There is no domain ${JSON.stringify(name)}.`, { param: "domain", hint: `Use one of: ${domains.map((known) => known.name).join(", ")}; or add it to domains.json in the data folder.` });
}

function readTable(path: string, required: boolean): Domain[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (!required && isMissing(error)) return [];
    throw new EverloraError("invalid_settings", `${path}: ${messageOf(error)}`, { param: "domains", hint: "Make the file readable, or remove it.", cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new EverloraError("invalid_settings", `${path} is not JSON: ${messageOf(error)}`, { param: "domains", hint: "Mend the file, or remove it." });
  }
  const parsed = z.array(domainSchema).safeParse(value);
  if (!parsed.success) throw new EverloraError("invalid_settings", `${path}: ${describeIssues(parsed.error.issues, "file")}`, { param: "domains", hint: "The file is a list of domains in the shape of shared/domains/domains.json." });
  const twice = parsed.data.find((domain, at) => parsed.data.findIndex((other) => other.name === domain.name) !== at);
  if (twice !== undefined) throw new EverloraError("invalid_settings", `${path}: the domain ${twice.name} is there twice.`, { param: "domains", hint: "Merge the two." });
  return parsed.data;
}
