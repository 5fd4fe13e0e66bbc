/**
 * Models of the Hub by id, and where they lie once they are here: <models>/<owner>--<name>/<commit>/, with the commit that a revision last meant in
 * <models>/<owner>--<name>/refs/<revision>. Reading only; download.ts writes.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface ModelId {
  /** `owner/name` */
  readonly repository: string;
  /** Branch, tag or commit; default main. */
  readonly revision: string;
}

const pattern = /^(?<repository>[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95})(?:@(?<revision>[A-Za-z0-9][\w.-]{0,95}))?$/;

/** `owner/name` or `owner/name@revision`; null for anything else (a folder's path, a bundled model's name). */
export function parseModelId(text: string): ModelId | null {
  const found = pattern.exec(text)?.groups;
  if (found?.["repository"] === undefined || text.includes("..")) return null;
  return { repository: found["repository"], revision: found["revision"] ?? "main" };
}

export const homeOf = (models: string, { repository }: ModelId): string => join(models, repository.replace("/", "--"));
export const refOf = (models: string, id: ModelId): string => join(homeOf(models, id), "refs", id.revision);

const commitPattern = /^[0-9a-f]{7,64}$/;

/** The folder of a model that was downloaded completely, or null. */
export function downloadedFolder(models: string, id: ModelId): string | null {
  const ref = refOf(models, id);
  const commit = existsSync(ref) ? readFileSync(ref, "utf8").trim() : id.revision;
  if (!commitPattern.test(commit)) return null;
  const folder = join(homeOf(models, id), commit);
  return existsSync(join(folder, completeFile)) ? folder : null;
}

/** Written last: a folder without it is a download that did not end. */
export const completeFile = "everlora-download.json";
