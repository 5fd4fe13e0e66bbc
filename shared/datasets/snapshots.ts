/**
 * training_data/<domain>/<version>/: a dataset as it was at one moment, never changed afterwards (but for what must be forgotten: forget.ts): dataset.jsonl with a
 * row a line, and manifest.json, written last. Written in constant memory; a version with the same rows and window as the newest is the newest.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { domainNameSchema } from "../events/streams.ts";
import { syncDirectory } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import { createCuration, type Caps } from "./curate.ts";
import { countDrops } from "./drops.ts";
import type { Row } from "./row.ts";
import { RowPasses, rowsPath } from "./rows.ts";
import { isInWindow, type Window } from "./window.ts";

export const snapshotDataFile = "dataset.jsonl";
export const manifestFile = "manifest.json";
/** 20261120T150412Z-3f9a1c: time, and the first digits of the data's hash. */
const snapshotVersionSchema = z.string().regex(/^\d{8}T\d{6}Z-[0-9a-f]{6}$/);

const counts = z.record(z.string(), z.int());
export const snapshotManifestSchema = z.object({
  version: z.literal(1),
  snapshot: snapshotVersionSchema,
  domain: domainNameSchema,
  /** Milliseconds since 1970. */
  createdAt: z.int(),
  window: z.object({ days: z.number(), from: z.int(), to: z.int() }),
  rows: z.int(),
  train: z.int(),
  heldOut: z.int(),
  /** Of dataset.jsonl. */
  sha256: z.string(),
  bytes: z.int(),
  languages: counts,
  sources: counts,
  /** Personal data that was replaced, by kind. */
  anonymised: counts,
  /** Lines of rows.jsonl that are not in it, by reason. */
  leftOut: counts,
  /** Conversations of the window that became no rows, by reason. */
  dropped: counts,
  /** The settings that decided what is in it. */
  settings: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  /** Rows that were taken out afterwards because they had to be forgotten. */
  forgotten: z.int(),
  rowIds: z.array(z.string()),
});
export type SnapshotManifest = z.infer<typeof snapshotManifestSchema>;
/** The manifest without its list, which may be long. */
export type SnapshotFacts = Omit<SnapshotManifest, "rowIds">;

export interface SnapshotRequest {
  readonly trainingData: string;
  readonly domain: string;
  readonly window: Window & { readonly days: number };
  readonly settings: SnapshotManifest["settings"];
  /** How much of it one caller, template or source may fill; default: curate.ts. */
  readonly caps?: Caps;
  /** Throws when there is too little: then nothing is left behind. */
  readonly accept?: (facts: Pick<SnapshotFacts, "rows" | "train" | "heldOut">) => void;
  readonly now?: number;
}

export interface Snapshot {
  readonly folder: string;
  readonly facts: SnapshotFacts;
}

/** @returns null when the domain has no rows in the window @throws what `accept` throws, and what the disk says */
export async function writeSnapshot(request: SnapshotRequest): Promise<Snapshot | null> {
  const { trainingData, domain, window, accept } = request;
  const now = request.now ?? Date.now();
  const parent = join(trainingData, domain);
  await makeFolder(parent);
  const temporary = join(parent, `.snapshot.tmp-${randomBytes(6).toString("hex")}`);
  await mkdir(temporary);
  try {
    const { ids, ...taken } = await writeData(join(temporary, snapshotDataFile), request);
    accept?.(taken);
    if (taken.rows === 0) return null;
    const newest = await newestSnapshot(trainingData, domain);
    if (newest?.facts.sha256 === taken.sha256 && newest.facts.window.days === window.days) return newest;
    const snapshot = `${new Date(now).toISOString().replace(/[-:]|\.\d+/g, "")}-${taken.sha256.slice(0, 6)}`;
    const facts: SnapshotFacts = { version: 1, snapshot, domain, createdAt: now, window, ...taken, dropped: await countDrops(trainingData, domain, window.from), settings: request.settings, forgotten: 0 };
    await writeManifest(join(temporary, manifestFile), facts, ids);
    await syncDirectory(temporary);
    const folder = join(parent, snapshot);
    await rename(temporary, folder);
    await syncDirectory(parent);
    return { folder, facts };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

type Taken = Pick<SnapshotFacts, "rows" | "train" | "heldOut" | "sha256" | "bytes" | "languages" | "sources" | "anonymised" | "leftOut">;

async function writeData(path: string, { trainingData, domain, window, caps }: SnapshotRequest): Promise<Taken & { ids: RowIds }> {
  const passes = new RowPasses(rowsPath(trainingData, domain));
  const curation = createCuration(caps, await passes.size());
  const isWanted = (row: Row) => row.domain === domain && isInWindow(row, window);
  const repeated = await repeatedIds(passes, (row) => {
    if (isWanted(row)) curation.add(row);
  });
  if (curation.needsWords) for await (const row of passes.read()) if (isWanted(row)) curation.addWords(row);
  const ids = new RowIds();
  const sums = { rows: 0, heldOut: 0, languages: {}, sources: {}, anonymised: {}, leftOut: {} };
  const add = (into: Record<string, number>, key: string, count = 1) => void (into[key] = (into[key] ?? 0) + count);
  const file = await LineWriter.open(path);
  try {
    for await (const row of passes.read(() => add(sums.leftOut, "unreadable"))) {
      const again = repeated.get(row.id) ?? 0;
      if (row.domain !== domain) add(sums.leftOut, "other_domain");
      else if (!isInWindow(row, window)) add(sums.leftOut, "outside_window");
      else if (again > 0) {
        // The newest of several counts, and they stand in the order of time.
        repeated.set(row.id, again - 1);
        add(sums.leftOut, "duplicate");
      } else {
        const against = curation.reasonAgainst(row);
        if (against !== null) {
          add(sums.leftOut, against);
          continue;
        }
        if (file.add(`${JSON.stringify(row)}\n`)) await file.flush();
        ids.add(row.id);
        sums.rows++;
        if (row.split === "held-out") sums.heldOut++;
        add(sums.languages, row.language);
        add(sums.sources, row.source);
        for (const [kind, count] of Object.entries(row.anonymised)) add(sums.anonymised, kind, count);
      }
    }
    const { sha256, bytes } = await file.end();
    return { ...sums, train: sums.rows - sums.heldOut, sha256, bytes, ids };
  } finally {
    await file.close();
  }
}

/** Ids that stand more than once, with how often before the last time. Eight bytes a row: a digest's first 52 bits tell a hundred million rows apart. */
async function repeatedIds(passes: RowPasses, visit: (row: Row) => void): Promise<Map<string, number>> {
  let keys = new Float64Array(4_096);
  let count = 0;
  const keyOf = (id: string) => Number.parseInt(id.slice(0, 13), 16);
  for await (const row of passes.read()) {
    visit(row);
    const { id } = row;
    if (count === keys.length) {
      const larger = new Float64Array(2 * count);
      larger.set(keys);
      keys = larger;
    }
    keys[count++] = keyOf(id);
  }
  const sorted = keys.subarray(0, count).sort();
  const suspects = new Set<number>();
  for (let at = 1; at < count; at++) if (sorted[at] === sorted[at - 1]) suspects.add(sorted[at] ?? 0);
  const repeated = new Map<string, number>();
  if (suspects.size > 0) for await (const { id } of passes.read()) if (suspects.has(keyOf(id))) repeated.set(id, (repeated.get(id) ?? -1) + 1);
  return repeated;
}

/** Ids of 32 hex digits in 16 bytes each. */
class RowIds {
  #bytes = Buffer.alloc(4_096);
  #count = 0;

  add(id: string): void {
    if (16 * this.#count === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(this.#bytes.length)]);
    this.#bytes.write(id, 16 * this.#count++, 16, "hex");
  }

  *[Symbol.iterator](): Generator<string> {
    for (let at = 0; at < this.#count; at++) yield this.#bytes.toString("hex", 16 * at, 16 * at + 16);
  }
}

/** Text in large pieces, with its hash and length. */
class LineWriter {
  readonly #file: FileHandle;
  readonly #hash = createHash("sha256");
  #text: string[] = [];
  #length = 0;
  #bytes = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(path: string): Promise<LineWriter> {
    return new LineWriter(await open(path, "w"));
  }

  /** @returns whether it is time to flush */
  add(text: string): boolean {
    this.#text.push(text);
    this.#length += text.length;
    return this.#length >= 1 << 20;
  }

  async end(): Promise<{ sha256: string; bytes: number }> {
    await this.flush();
    await this.#file.sync();
    return { sha256: this.#hash.digest("hex"), bytes: this.#bytes };
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async flush(): Promise<void> {
    const bytes = Buffer.from(this.#text.join(""));
    this.#text = [];
    this.#length = 0;
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
    await this.#file.appendFile(bytes);
  }
}

/** One field a line, the ids last. */
export async function writeManifest(path: string, facts: SnapshotFacts, ids: Iterable<string>): Promise<void> {
  const file = await LineWriter.open(path);
  try {
    file.add(`{\n${Object.entries(facts).map(([name, value]) => ` ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`).join("")} "rowIds": [`);
    let first = true;
    for (const id of ids) {
      if (file.add(`${first ? "" : ","}\n  "${id}"`)) await file.flush();
      first = false;
    }
    file.add("\n ]\n}\n");
    await file.end();
  } finally {
    await file.close();
  }
}

/** Versions of a domain, oldest first. */
export async function listSnapshots(trainingData: string, domain: string): Promise<string[]> {
  const names = await readdir(join(trainingData, domain)).catch(() => []);
  return names.filter((name) => snapshotVersionSchema.safeParse(name).success).sort();
}

/** @throws Error when the manifest is missing or damaged */
export async function readManifest(folder: string): Promise<SnapshotManifest> {
  return snapshotManifestSchema.parse(JSON.parse(await readFile(join(folder, manifestFile), "utf8")));
}

async function newestSnapshot(trainingData: string, domain: string): Promise<Snapshot | null> {
  const version = (await listSnapshots(trainingData, domain)).at(-1);
  if (version === undefined) return null;
  const folder = join(trainingData, domain, version);
  try {
    const { rowIds: _ids, ...facts } = await readManifest(folder);
    return { folder, facts };
  } catch {
    return null; // damaged: another is written
  }
}
