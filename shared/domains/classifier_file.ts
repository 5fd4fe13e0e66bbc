/**
 * The trained classifier as a file of the data folder: written by the collector, read by whoever sorts. A table of domains that came from a data folder
 * knows its file and looks every half minute whether there is a newer one, so that nobody has to be told.
 */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { sha256 } from "../events/conversation.ts";
import { writeFileAtomic } from "../files/atomic.ts";
import type { NaiveBayes } from "./naive_bayes.ts";

export const classifierPath = (dataDir: string) => join(dataDir, ".everlora", "domain-classifier.json");

const bodySchema = z.object({
  classes: z.array(z.string()).min(2),
  priors: z.array(z.number()),
  temperature: z.number().positive(),
  threshold: z.number(),
  rows: z.int(),
  words: z.array(z.string()),
  /** Float32, little-endian, base64; one row of `classes` numbers for each word. */
  likelihoods: z.string(),
});
const fileSchema = z.object({ version: z.literal(1), sha256: z.string(), body: z.string() });

export async function writeClassifier(path: string, model: NaiveBayes): Promise<void> {
  const { classes, priors, temperature, threshold, rows, features } = model;
  const values = Buffer.alloc(features.size * classes.length * 4);
  let at = 0;
  for (const likelihoods of features.values()) for (const value of likelihoods) at = values.writeFloatLE(value, at);
  const body = JSON.stringify({ classes, priors, temperature, threshold, rows, words: [...features.keys()], likelihoods: values.toString("base64") });
  await writeFileAtomic(path, JSON.stringify({ version: 1, sha256: sha256(body), body }));
}

/** Null: there is none, or it is damaged or of another version; keywords alone sort then. */
export function readClassifier(path: string): NaiveBayes | null {
  try {
    const file = fileSchema.parse(JSON.parse(readFileSync(path, "utf8")));
    if (sha256(file.body) !== file.sha256) return null;
    const { words, likelihoods, ...rest } = bodySchema.parse(JSON.parse(file.body));
    const bytes = Buffer.from(likelihoods, "base64");
    const width = rest.classes.length;
    if (bytes.length !== words.length * width * 4) return null;
    const features = new Map(words.map((word, row) => [word, Float32Array.from({ length: width }, (_, column) => bytes.readFloatLE((row * width + column) * 4))]));
    return { ...rest, features };
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
