/**
 * The adapters on disk: loras/<domain>/<generation>/ (immutable, named by content) and loras/<domain>/live.json (the pointer). Files are truth;
 * whoever changes the pointer rings the bell on the stream `adapters` afterwards. Not responsible for what the tensors mean (adapter.ts).
 */
import { createHash, randomBytes } from "node:crypto";
import { readFile, readdir, rename } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import type { z } from "zod";
import { EverloraError, describeIssues, messageOf } from "../errors/errors.ts";
import { sha256 } from "../events/conversation.ts";
import { domainNameSchema, generationSchema } from "../events/streams.ts";
import { hashFile } from "../files/hash_file.ts";
import { createFolderAtomic, writeFileAtomic, writeFileSynced } from "../files/atomic.ts";
import { adapterManifestSchema, configFile, livePointerSchema, manifestFile, pointerFile, weightsFile, type AdapterManifest, type LivePointer } from "./manifest.ts";

export interface NewAdapter {
  readonly loras: string;
  readonly domain: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly weights: Uint8Array;
  readonly base: AdapterManifest["base"];
  readonly runId: string;
  readonly heldOut: AdapterManifest["heldOut"];
}

/**
 * Stores an adapter. Its generation is the first 12 hex digits of SHA-256 over weights and config, so the same bytes are the same generation, and
 * storing them twice is harmless. A damaged folder of that name is moved aside first. Does not make it live.
 */
export async function publishAdapter(adapter: NewAdapter): Promise<{ generation: string; folder: string }> {
  const domain = domainNameSchema.parse(adapter.domain);
  const config = configText(adapter.config);
  const generation = generationOf(adapter);
  const folder = join(adapter.loras, domain, generation);
  const present = await verifyAdapter(folder).then(() => "whole" as const, (error: unknown) => (isMissing(error) ? ("missing" as const) : ("damaged" as const)));
  if (present === "whole") return { generation, folder };
  if (present === "damaged") await rename(folder, join(adapter.loras, domain, `.${generation}.damaged-${randomBytes(4).toString("hex")}`));
  const manifest: AdapterManifest = {
    version: 1,
    domain,
    generation,
    files: { [weightsFile]: sha256(adapter.weights), [configFile]: sha256(config) },
    base: adapter.base,
    runId: adapter.runId,
    createdAt: Date.now(),
    heldOut: adapter.heldOut,
  };
  const created = createFolderAtomic(folder, async (temporary) => {
    await writeFileSynced(join(temporary, weightsFile), adapter.weights);
    await writeFileSynced(join(temporary, configFile), config);
    await writeFileSynced(join(temporary, manifestFile), `${JSON.stringify(manifest, null, 2)}\n`);
  });
  await created.catch(async (error: NodeJS.ErrnoException) => {
    // Another process stored the same adapter in the meantime.
    if (error.code === "ENOTEMPTY" || error.code === "EEXIST") await verifyAdapter(folder);
    else throw error;
  });
  return { generation, folder };
}

/** The name that its content gives an adapter. */
export function generationOf({ config, weights }: Pick<NewAdapter, "config" | "weights">): string {
  return sha256(Buffer.concat([weights, Buffer.from(configText(config))])).slice(0, 12);
}

const configText = (config: NewAdapter["config"]) => `${JSON.stringify(config, null, 2)}\n`;

/**
 * Reads the manifest, hashes both files, and checks the name that the content gives the adapter.
 * @param known the folder's manifest, where it was read already
 * @throws EverloraError adapter_not_found when there is no such folder; adapter_corrupted that names the file whose hash differs
 */
export async function verifyAdapter(folder: string, known?: AdapterManifest): Promise<AdapterManifest> {
  const manifest = known ?? (await readManifest(folder));
  const odd = Object.keys(manifest.files).find((name) => name !== weightsFile && name !== configFile);
  if (odd !== undefined) throw corrupted(folder, `its manifest names a file ${JSON.stringify(odd)} that does not belong here`);
  const content = createHash("sha256");
  for (const name of [weightsFile, configFile]) {
    const expected = manifest.files[name];
    if (expected === undefined) throw corrupted(folder, `its manifest lacks ${name}`);
    const own = createHash("sha256");
    // The weights come first, so the digest so far is theirs: the larger file is hashed once.
    await hashFile(join(folder, name), name === weightsFile ? [content] : [content, own]).catch((error: unknown) => {
      throw corrupted(folder, `${name} cannot be read: ${messageOf(error)}`);
    });
    const actual = (name === weightsFile ? content.copy() : own).digest("hex");
    if (actual !== expected) throw corrupted(folder, `${name} has SHA-256 ${actual.slice(0, 12)}…, its manifest says ${expected.slice(0, 12)}…`);
  }
  const generation = content.digest("hex").slice(0, 12);
  for (const said of [manifest.generation, basename(resolve(folder))]) {
    // A folder of the user's own may be called anything; one that is named as a generation must be that generation.
    if (generationSchema.safeParse(said).success && said !== generation) throw corrupted(folder, `its content is generation ${generation}, not ${said}`);
  }
  return manifest;
}

export interface ListedAdapter {
  readonly domain: string;
  readonly generation: string;
  readonly manifest: AdapterManifest;
  readonly live: boolean;
}

/** All adapters with a readable manifest, newest first; the others are reported as damaged. Does not hash the weights (verifyAdapter does). */
export async function listAdapters(loras: string): Promise<{ adapters: ListedAdapter[]; damaged: { domain: string; generation: string; reason: string }[] }> {
  const adapters: ListedAdapter[] = [];
  const damaged: { domain: string; generation: string; reason: string }[] = [];
  for (const domain of await folders(loras)) {
    if (!domainNameSchema.safeParse(domain).success) continue;
    const live = await readLive(loras, domain).catch(() => null);
    for (const generation of await folders(join(loras, domain))) {
      if (!generationSchema.safeParse(generation).success) continue;
      try {
        adapters.push({ domain, generation, manifest: await readManifest(join(loras, domain, generation)), live: live?.generation === generation });
      } catch (error) {
        damaged.push({ domain, generation, reason: messageOf(error) });
      }
    }
  }
  return { adapters: adapters.sort((a, b) => b.manifest.createdAt - a.manifest.createdAt), damaged };
}

/** The pointer of a domain, or null when nothing ever went live there. @throws EverloraError adapter_corrupted when it is unreadable */
export async function readLive(loras: string, domain: string): Promise<LivePointer | null> {
  const path = join(loras, domainNameSchema.parse(domain), pointerFile);
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  return text === null ? null : parseJson(text, livePointerSchema, path);
}

/**
 * Points the domain at a generation (null = the base). The pointer's old generation becomes `previous`, which is what a rollback goes to.
 * @param visible called when all can read it, before it is sure to outlive a power cut: the place for the bell, because a gateway that hears it would go back with the pointer
 */
export async function writeLive(loras: string, domain: string, change: { generation: string | null; reason: string }, visible?: () => Promise<unknown>): Promise<LivePointer> {
  // A damaged pointer is replaced, not an obstacle for ever.
  const before = await readLive(loras, domain).catch((error: unknown) => {
    if (error instanceof EverloraError && error.code === "adapter_corrupted") return null;
    throw error;
  });
  const same = before !== null && before.generation === change.generation;
  const pointer: LivePointer = { version: 1, generation: change.generation, previous: same ? before.previous : (before?.generation ?? null), since: Date.now(), reason: change.reason };
  await writeFileAtomic(join(loras, domainNameSchema.parse(domain), pointerFile), `${JSON.stringify(pointer, null, 2)}\n`, visible === undefined ? {} : { visible });
  return pointer;
}

/** What an adapter's folder says of itself; nothing of it is verified. @throws EverloraError adapter_not_found, adapter_corrupted */
export async function readManifest(folder: string): Promise<AdapterManifest> {
  const path = join(folder, manifestFile);
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (text !== null) return parseJson(text, adapterManifestSchema, path);
  const there = (await readdir(folder).catch(() => [])).length > 0;
  if (there) throw corrupted(folder, `${manifestFile} is missing`);
  throw new EverloraError("adapter_not_found", `There is no adapter in ${folder}.`);
}

function parseJson<S extends z.ZodType>(text: string, schema: S, path: string): z.infer<S> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw corrupted(path, `it is not JSON: ${messageOf(error)}`);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw corrupted(path, describeIssues(parsed.error.issues, "the file"));
  return parsed.data;
}

async function folders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

const isMissing = (error: unknown) => error instanceof EverloraError && error.code === "adapter_not_found";
const corrupted = (where: string, message: string) => new EverloraError("adapter_corrupted", `${where}: ${message}`);
