/**
 * The trained classifier as a file of the data folder: written by the collector, read by whoever sorts. A table of domains that came from a data folder
 * knows its file and looks every half minute whether there is a newer one, so that nobody has to be told.
 */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { sha256 } from "../events/conversation.ts";
import { writeFileAtomic } from "../files/atomic.ts";
import { HashIndex } from "./hash_index.ts";
import type { NaiveBayes } from "./naive_bayes.ts";

export const classifierPath = (dataDir: string) => join(dataDir, ".everlora", "domain-classifier.json");

const bodySchema = z.object({
  classes: z.array(z.string()).min(2),
  priors: z.array(z.number()),
  temperature: z.number().positive(),
  threshold: z.number(),
  rows: z.int(),
  /** Uint32, little-endian, base64: the hash of each feature. No word of anybody's is in the file. */
  features: z.string(),
  /** Float32, little-endian, base64; one row of `classes` numbers for each feature. */
  likelihoods: z.string(),
});
const fileSchema = z.object({ version: z.literal(2), sha256: z.string(), body: z.string() });

export async function writeClassifier(path: string, model: NaiveBayes): Promise<void> {
  const { features, likelihoods, ...rest } = model;
  const { hashes } = features;
  const body = JSON.stringify({ ...rest, features: base64(hashes.length, (bytes, at) => bytes.writeUInt32LE(hashes[at] ?? 0, 4 * at)), likelihoods: base64(likelihoods.length, (bytes, at) => bytes.writeFloatLE(likelihoods[at] ?? 0, 4 * at)) });
  await writeFileAtomic(path, JSON.stringify({ version: 2, sha256: sha256(body), body }));
}

function base64(count: number, write: (bytes: Buffer, at: number) => void): string {
  const bytes = Buffer.alloc(4 * count);
  for (let at = 0; at < count; at++) write(bytes, at);
  return bytes.toString("base64");
}

/** Null: there is none, or it is damaged or of another version; keywords alone sort then. */
export function readClassifier(path: string): NaiveBayes | null {
  try {
    const file = fileSchema.parse(JSON.parse(readFileSync(path, "utf8")));
    if (sha256(file.body) !== file.sha256) return null;
    const { features, likelihoods, ...rest } = bodySchema.parse(JSON.parse(file.body));
    const [hashes, values] = [Buffer.from(features, "base64"), Buffer.from(likelihoods, "base64")];
    if (values.length !== hashes.length * rest.classes.length) return null;
    return {
      ...rest,
      features: HashIndex.of(Array.from({ length: hashes.length / 4 }, (_, at) => hashes.readUInt32LE(4 * at))),
      likelihoods: Float32Array.from({ length: values.length / 4 }, (_, at) => values.readFloatLE(4 * at)),
    };
  } catch {
    return null;
  }
}

interface Watched {
  readonly path: string;
  model: NaiveBayes | null;
  changedAt: number;
  lookedAt: number;
}

const watched = new WeakMap<object, Watched>();
const patienceMs = 30_000;

/** @param table the array that loadDomains gave */
export function watchClassifier(table: object, dataDir: string): void {
  watched.set(table, { path: classifierPath(dataDir), model: null, changedAt: -1, lookedAt: -Infinity });
}

/** For benches and tests: this model and no file. */
export function setClassifier(table: object, model: NaiveBayes | null): void {
  watched.set(table, { path: "", model, changedAt: 0, lookedAt: Infinity });
}

export function classifierOf(table: object): NaiveBayes | null {
  const entry = watched.get(table);
  if (entry === undefined) return null;
  const now = performance.now();
  if (now - entry.lookedAt < patienceMs || entry.lookedAt === Infinity) return entry.model;
  entry.lookedAt = now;
  const changedAt = statSync(entry.path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (changedAt !== entry.changedAt) [entry.model, entry.changedAt] = [changedAt === 0 ? null : readClassifier(entry.path), changedAt];
  return entry.model;
}
