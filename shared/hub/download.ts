/**
 * Fetches a model from a Hub: what is needed to run it, resumed where an earlier attempt ended, each file compared with the checksum that the Hub names.
 * Responsible for the files; not for what they mean (shared/models).
 */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { HubApiError, fileDownloadInfo, listFiles, modelInfo, type ListFileEntry } from "@huggingface/hub";
import { z } from "zod";
import { EverloraError, messageOf } from "../errors/errors.ts";
import { syncDirectory, writeFileAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import { completeFile, downloadedFolder, homeOf, refOf, type ModelId } from "./model_id.ts";

export interface HubOptions {
  /** Where models lie. */
  readonly models: string;
  /** Address of the Hub, without a slash at its end. */
  readonly url: string;
  readonly token?: string | undefined;
  /** Ask nobody: what is here, or an error. */
  readonly offline: boolean;
  /** @param done and @param total in bytes, over all files */
  readonly onProgress?: (done: number, total: number, file: string) => void;
  readonly signal?: AbortSignal;
}

/** What a model needs; a repository's other formats, pictures and checkpoints stay where they are. */
const wanted = /^(?:config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|chat_template\.jinja|model\.safetensors|model-\d{5}-of-\d{5}\.safetensors|model\.safetensors\.index\.json|modules\.json|sentence_bert_config\.json|config_sentence_transformers\.json|1_Pooling\/config\.json)$/;

/**
 * The model's folder, downloaded unless it is here. A branch is asked for anew each time (it may have moved), unless offline or the Hub cannot be reached.
 * @throws EverloraError model_download_failed
 */
export async function downloadModel(id: ModelId, options: HubOptions): Promise<string> {
  const here = downloadedFolder(options.models, id);
  if (options.offline) {
    if (here !== null) return here;
    throw new EverloraError("model_download_failed", `${named(id)} is not in ${options.models}, and HUB_OFFLINE=true forbids to fetch it.`, { param: "BASE_MODEL", hint: "Set HUB_OFFLINE=false, or BASE_MODEL to a model that is here." });
  }
  const reach = { hubUrl: options.url, ...(options.token === undefined ? {} : { accessToken: options.token }) };
  const commit = await commitOf(id, reach).catch((error: unknown) => {
    if (here !== null && !(error instanceof HubApiError)) return null;
    throw explained(id, options, error);
  });
  if (commit === null && here !== null) return here;
  const exact: ModelId = { ...id, revision: commit ?? id.revision };
  const folder = join(homeOf(options.models, id), exact.revision);
  if (downloadedFolder(options.models, exact) === null) {
    await fetchAll(exact, folder, reach, options).catch((error: unknown) => {
      throw explained(id, options, error);
    });
  }
  await writeFileAtomic(refOf(options.models, id), `${exact.revision}\n`);
  return folder;
}

type Reach = { readonly hubUrl: string; readonly accessToken?: string };

async function commitOf({ repository, revision }: ModelId, reach: Reach): Promise<string> {
  const info: unknown = await modelInfo({ name: repository, revision, additionalFields: ["sha"], ...reach });
  return z.looseObject({ sha: z.string().regex(/^[0-9a-f]{7,64}$/) }).parse(info).sha;
}

async function fetchAll(id: ModelId, folder: string, reach: Reach, options: HubOptions): Promise<void> {
  const files: ListFileEntry[] = [];
  for await (const file of listFiles({ repo: { type: "model", name: id.repository }, revision: id.revision, recursive: true, ...reach })) if (file.type === "file" && wanted.test(file.path)) files.push(file);
  if (!files.some(({ path }) => path.endsWith(".safetensors"))) throw new Error("the repository has no safetensors weights");
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  for (const file of files) {
    await fetchFile(id, file, join(folder, file.path), reach, options, (done) => options.onProgress?.(before + done, total, file.path));
    before += file.size;
  }
  await writeFileAtomic(join(folder, completeFile), `${JSON.stringify({ repository: id.repository, commit: id.revision, files: files.map(({ path, size, lfs, oid }) => ({ path, size, checksum: lfs?.oid ?? oid ?? null })) }, null, 1)}\n`);
}

async function fetchFile(id: ModelId, file: ListFileEntry, path: string, reach: Reach, { token, signal }: HubOptions, onBytes: (done: number) => void): Promise<void> {
  if ((await stat(path).catch(() => null))?.size === file.size && (await checksumOf(path, file)) === expectedChecksum(file)) return onBytes(file.size);
  await makeFolder(dirname(path));
  const part = `${path}.part`;
  // The second attempt is for a part whose beginning is not this file's: then all of it is fetched anew.
  for (let attempt = 1; ; attempt++) {
    const from = Math.min((await stat(part).catch(() => null))?.size ?? 0, file.size);
    if (from < file.size) {
      const info = await fileDownloadInfo({ repo: { type: "model", name: id.repository }, path: file.path, revision: id.revision, ...reach });
      if (info === null) throw new Error(`${file.path} is listed, but not there`);
      await append(part, from, file.size, info.url, sameOrigin(info.url, reach.hubUrl) ? token : undefined, signal, onBytes);
    }
    if ((await checksumOf(part, file)) === expectedChecksum(file)) break;
    await rm(part);
    if (attempt === 2) throw new Error(`${file.path} does not have the checksum that the Hub names, after a second attempt`);
  }
  await rename(part, path);
  await syncDirectory(dirname(path));
}

/** Appends what is missing. A server that ignores the range sends all of it: then the file begins anew. */
async function append(part: string, from: number, size: number, url: string, token: string | undefined, signal: AbortSignal | undefined, onBytes: (done: number) => void): Promise<void> {
  const response = await fetch(url, { headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...(from > 0 ? { range: `bytes=${from}-` } : {}) }, ...(signal === undefined ? {} : { signal }) });
  if (!response.ok || response.body === null) throw new Error(`${new URL(url).pathname} was answered with status ${response.status}`);
  const begin = response.status === 206 ? from : 0;
  const handle = await open(part, begin === 0 ? "w" : "a");
  let done = begin;
  try {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      done += chunk.byteLength;
      if (done > size) throw new Error(`the Hub sent more than the ${size} bytes that it listed`);
      await handle.writeFile(chunk);
      onBytes(done);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (done < size) throw new Error(`the connection ended after ${done} of ${size} bytes; the next attempt goes on from there`);
}

const sameOrigin = (a: string, b: string) => new URL(a).origin === new URL(b).origin;
const expectedChecksum = (file: ListFileEntry) => file.lfs?.oid ?? file.oid;

/** Large files are named by SHA-256, small ones by git's name of a blob. */
async function checksumOf(path: string, file: ListFileEntry): Promise<string> {
  const hash: Hash = file.lfs === undefined ? createHash("sha1").update(`blob ${(await stat(path)).size}\0`) : createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

const named = ({ repository, revision }: ModelId) => (revision === "main" ? repository : `${repository}@${revision}`);

function explained(id: ModelId, { url }: HubOptions, error: unknown): EverloraError {
  if (error instanceof EverloraError) return error;
  const status = error instanceof HubApiError ? error.statusCode : null;
  const hint =
    status === 404
      ? "Check the id's spelling and the revision."
      : status === 401 || status === 403
        ? "The model is private or needs its licence accepted: set HUB_TOKEN to a token that may read it."
        : status === null
          ? "Check the network and HUB_URL, or set BASE_MODEL to a folder. What was fetched stays: the next attempt goes on from there."
          : "Try again later.";
  return new EverloraError("model_download_failed", `${named(id)} cannot be fetched from ${url}: ${messageOf(error)}`, { param: "BASE_MODEL", hint, cause: error });
}
