/**
 * What the store knows, kept in one file beside the data, so that a start need not read a million rows again: training_data/.store-index. It says of each data
 * file up to which byte it has it; what was appended since is read as ever. It is a cache and nothing else: missing, damaged, of another version, or beside files
 * that were written anew, it is left out, and everything is read from the rows. Written whole or not at all, from a store that has nothing under way.
 */
import { createHash } from "node:crypto";
import { rm, type FileHandle } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import type { Logger } from "pino";
import { z } from "zod";
import { dropsFile, foldFrom, keptDays } from "../../../shared/datasets/drops.ts";
import { rowsPath } from "../../../shared/datasets/rows.ts";
import { threadOf } from "../../../shared/datasets/split.ts";
import { messageOf } from "../../../shared/errors/errors.ts";
import { createFileAtomic } from "../../../shared/files/atomic.ts";
import { withFile } from "../../../shared/files/with_file.ts";
import { contentId, createDuplicates, type Duplicates } from "../deduplicate/duplicates.ts";
import { sketchOf } from "../deduplicate/minhash.ts";
import { conversationKey } from "../pipeline/pipeline.ts";
import { ArchiveReader, ArchiveWriter } from "./archive.ts";
import { Known } from "./known.ts";
import { createSides, type Sides } from "./sides.ts";
import type { SpillOptions } from "./spill.ts";
import { savedTallySchema, Tally } from "./tally.ts";

export const checkpointFile = ".store-index";
const format = 1;

export interface State {
  readonly duplicates: Duplicates;
  readonly sides: Sides;
  readonly tallies: Map<string, Tally>;
  readonly known: Known;
}

/** How far a data file is known, and how it is told from another one of its name. null: there was none. */
const placeSchema = z.object({ size: z.number(), inode: z.number(), modified: z.number(), end: z.string() }).nullable();
type Place = z.infer<typeof placeSchema>;
const headSchema = z.object({ format: z.int(), fingerprint: z.string(), domains: z.array(z.object({ name: z.string(), rows: placeSchema, drops: placeSchema, tally: savedTallySchema })) });

/** Bytes up to which each file is known. */
export interface Positions {
  readonly rows: number;
  readonly drops: number;
}

export interface Checkpoint {
  readonly state: State;
  readonly positions: ReadonlyMap<string, Positions>;
}

/** How this program makes what is kept: another way of making it is another fingerprint. */
function fingerprint(): string {
  const text = "The quick brown fox, à moda da casa: 12 vezes.";
  const messages = [{ role: "user" as const, content: text }];
  const { words, bands } = sketchOf(text);
  return createHash("sha256").update(JSON.stringify([endianness(), [...words], [...bands], contentId(messages), threadOf("c", messages), conversationKey("c")])).digest("hex");
}

export const checkpointPath = (trainingData: string) => join(trainingData, checkpointFile);

/** Call it where nobody writes to store or files. @throws what the disk says: then there is no new file, and an old one is as it was */
export async function writeCheckpoint(trainingData: string, { duplicates, sides, tallies, known }: State): Promise<void> {
  const domains: z.infer<typeof headSchema>["domains"] = [];
  for (const [name, tally] of tallies) domains.push({ name, rows: await placeOf(rowsPath(trainingData, name)), drops: await placeOf(join(trainingData, name, dropsFile)), tally: tally.saved() });
  await createFileAtomic(checkpointPath(trainingData), async (file) => {
    const writer = new ArchiveWriter(file);
    await writer.json({ format, fingerprint: fingerprint(), domains } satisfies z.infer<typeof headSchema>);
    await known.save(writer);
    await sides.save(writer);
    await duplicates.save(writer);
    await writer.end();
  });
}

/** For who is going to write data files anew: what was taken out of them must be in no other file either. */
export async function removeCheckpoint(trainingData: string): Promise<void> {
  await rm(checkpointPath(trainingData), { force: true });
}

/** @returns null where there is none that can be used; why is logged */
export async function readCheckpoint(trainingData: string, options: SpillOptions, log: Logger): Promise<Checkpoint | null> {
  let reader: ArchiveReader | null = null;
  try {
    reader = await ArchiveReader.open(checkpointPath(trainingData));
    return reader === null ? null : await restore(reader, trainingData, options);
  } catch (error) {
    log.info({ reason: messageOf(error) }, "the store's index is not used; everything is read from the rows");
    return null;
  } finally {
    reader?.close();
  }
}

async function restore(reader: ArchiveReader, trainingData: string, options: SpillOptions): Promise<Checkpoint> {
  const head = reader.json(headSchema);
  if (head.format !== format || head.fingerprint !== fingerprint()) throw new Error("it is another version's");
  const positions = new Map<string, Positions>();
  const tallies = new Map<string, Tally>();
  let old = 0;
  for (const { name, rows, drops, tally } of head.domains) {
    positions.set(name, { rows: await positionIn(rowsPath(trainingData, name), rows), drops: await positionIn(join(trainingData, name, dropsFile), drops) });
    const restored = new Tally(tally);
    tallies.set(name, restored);
    old = Math.max(old, restored.dropsBefore(Date.now() - keptDays * 86_400_000));
  }
  if (old >= foldFrom) throw new Error("old drops are due to be folded into sums");
  const opened: { close(): void }[] = [];
  const keep = <T extends { close(): void }>(part: T): T => {
    opened.push(part);
    return part;
  };
  try {
    const known = keep(new Known(options, reader));
    const sides = keep(createSides(options, reader));
    const duplicates = keep(createDuplicates(options, undefined, reader));
    return { state: { known, sides, duplicates, tallies }, positions };
  } catch (error) {
    for (const part of opened) part.close();
    throw error;
  }
}

/** So much of a file's known part is compared with what it was. */
const comparedBytes = 65_536;

async function placeOf(path: string): Promise<Place> {
  return withFile(path, async (file) => {
    const { size, ino, mtimeMs } = await file.stat();
    return { size, inode: ino, modified: mtimeMs, end: await digestBefore(file, size) };
  });
}

/** Where the unknown part of a file begins. @throws Error when it is not the file that was known, or not as it was */
async function positionIn(path: string, place: Place): Promise<number> {
  if (place === null) return 0;
  const isSame = await withFile(path, async (file) => {
    const { size, ino, mtimeMs } = await file.stat();
    // What was only appended to has its known part as it was; where nothing was, the time of its last change is the same too.
    if (ino !== place.inode || size < place.size || (size === place.size && mtimeMs !== place.modified)) return false;
    return (await digestBefore(file, place.size)) === place.end;
  });
  if (isSame !== true) throw new Error(`${path} is another file than it was`);
  return place.size;
}

async function digestBefore(file: FileHandle, end: number): Promise<string> {
  const bytes = Buffer.alloc(Math.min(comparedBytes, end));
  const { bytesRead } = await file.read(bytes, 0, bytes.length, end - bytes.length);
  return createHash("sha256").update(bytes.subarray(0, bytesRead)).digest("hex");
}
