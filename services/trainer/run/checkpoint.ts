/**
 * runs/<id>/checkpoint.safetensors: the state of a training, from which the next attempt at the same run goes on to the same bits. Written atomically;
 * read with suspicion: a file that is damaged, or belongs to another base, data set or setting, is named and left aside, and the run begins at step 1.
 * A checkpoint that can't be written costs a log line, not the run.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { EverloraError, describeIssues, messageOf } from "../../../shared/errors/errors.ts";
import { sha256 } from "../../../shared/events/conversation.ts";
import { writeFileAtomic } from "../../../shared/files/atomic.ts";
import { withFile } from "../../../shared/files/with_file.ts";
import type { FinetuneState } from "../../../shared/engine/progress.ts";
import { readSafetensors, writeSafetensors, type NamedTensor } from "../../../shared/models/safetensors.ts";
import { checkpointFile } from "../../../shared/runs/run.ts";
import { isDiskFull, requireSpace } from "./space.ts";

/** What a state belongs to. Each part by its name, so that a refusal can say which one differs. */
export type Identity = Readonly<Record<string, string>>;

export interface CheckpointOptions {
  /** 0 = not by time. */
  readonly seconds: number;
  /** 0 = not by steps. */
  readonly steps: number;
  /** Free disk space that must be left. */
  readonly spareBytes: number;
  readonly log: (level: "info" | "warn", message: string) => void;
}

export interface Checkpoints {
  /** The state to go on from, or null: none is there, or it can't be used (then the log says why). */
  load(identity: Identity): Promise<FinetuneState | null>;
  /** Writes the state if it is time. Never throws. */
  offer(identity: Identity, state: () => FinetuneState): Promise<void>;
}

const evaluationSchema = z.object({ step: z.int().positive(), epoch: z.number(), loss: z.number() });
const factsSchema = z.object({
  identity: z.record(z.string(), z.string()),
  steps: z.int().positive(),
  evaluations: z.array(evaluationSchema),
  bestStep: z.int().positive().nullable(),
  losses: z.object({ first: z.number(), last: z.number() }),
});
/** The hash is of the facts and of the tensors' bytes. */
const metadataSchema = z.object({ facts: factsSchema, sha256: z.string() });
type Facts = z.infer<typeof factsSchema>;

/** @param folder of the run */
export function openCheckpoints(folder: string, options: CheckpointOptions): Checkpoints {
  const path = join(folder, checkpointFile);
  let last = { at: performance.now(), step: 0, complained: false };
  return {
    async load(identity) {
      try {
        const state = await readCheckpoint(path, identity);
        if (state !== null) last = { ...last, step: state.optimiser.steps };
        return state;
      } catch (error) {
        options.log("warn", `The checkpoint is not used, the training begins at step 1: ${messageOf(error)}`);
        await rm(path, { force: true });
        return null;
      }
    },
    async offer(identity, state) {
      const taken = state();
      const { steps } = taken.optimiser;
      const byTime = options.seconds > 0 && performance.now() - last.at >= options.seconds * 1_000;
      const bySteps = options.steps > 0 && steps - last.step >= options.steps;
      if (!byTime && !bySteps) return;
      try {
        const bytes = encodeCheckpoint(identity, taken);
        await requireSpace(folder, bytes.length + options.spareBytes);
        await writeFileAtomic(path, bytes);
        last = { ...last, complained: false };
      } catch (error) {
        // Once is enough: the next ones meet the same disk.
        if (!last.complained) options.log("warn", `No checkpoint was written at step ${steps}; the training goes on: ${isDiskFull(error) ? "the disk is full" : messageOf(error)}`);
        last = { ...last, complained: true };
      }
      last = { ...last, at: performance.now(), step: steps };
    },
  };
}

export function encodeCheckpoint(identity: Identity, { optimiser, evaluations, best, losses }: FinetuneState): Uint8Array {
  const tensors = new Map<string, NamedTensor>();
  const put = (name: string, values: Float32Array) => tensors.set(name, { shape: [values.length], values });
  put("values", optimiser.values);
  put("first", optimiser.first);
  put("second", optimiser.second);
  if (best !== null && best.step !== optimiser.steps) put("best", best.values);
  const facts: Facts = { identity, steps: optimiser.steps, evaluations: [...evaluations], bestStep: best?.step ?? null, losses };
  return writeSafetensors(tensors, "F32", { everlora: JSON.stringify({ facts, sha256: hashOf(facts, tensors) }) });
}

/** @returns null when there is none @throws EverloraError that names what is wrong with it */
async function readCheckpoint(path: string, identity: Identity): Promise<FinetuneState | null> {
  const text = await readMetadata(path);
  if (text === null) return null;
  const tensors = await readSafetensors(path);
  const parsed = metadataSchema.safeParse(JSON.parse(text));
  if (!parsed.success) throw damaged(describeIssues(parsed.error.issues, "its metadata"));
  const { facts } = parsed.data;
  if (hashOf(facts, tensors) !== parsed.data.sha256) throw damaged("its numbers are not those that were written");
  for (const name of new Set([...Object.keys(identity), ...Object.keys(facts.identity)])) {
    if (identity[name] !== facts.identity[name]) throw damaged(`it belongs to another ${name}`);
  }
  const { steps, evaluations, bestStep, losses } = facts;
  const [values, first, second] = ["values", "first", "second"].map((name) => tensors.get(name)?.values);
  if (values === undefined || first === undefined || second === undefined) throw damaged("a part of it is missing");
  const bestValues = bestStep === steps ? values : tensors.get("best")?.values;
  if (bestStep !== null && bestValues === undefined) throw damaged("the best adapter is missing");
  return { optimiser: { steps, values, first, second }, evaluations, best: bestStep === null || bestValues === undefined ? null : { step: bestStep, values: bestValues }, losses };
}

/** What the file says about itself; null when there is none. A header of any size was refused by then: only its first megabyte is looked at. */
function readMetadata(path: string): Promise<string | null> {
  return withFile(path, async (file) => {
    const length = Buffer.alloc(8);
    await file.read(length, 0, 8, 0);
    const header = Buffer.alloc(Math.min(Number(length.readBigUInt64LE()), 1 << 20));
    const { bytesRead } = await file.read(header, 0, header.length, 8);
    const parsed = z.object({ __metadata__: z.object({ everlora: z.string() }) }).safeParse(parseHeader(header.toString("utf8", 0, bytesRead)));
    if (!parsed.success) throw damaged("it is no checkpoint");
    return parsed.data.__metadata__.everlora;
  });
}

function parseHeader(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw damaged("its header is not JSON");
  }
}

function hashOf(facts: Facts, tensors: ReadonlyMap<string, NamedTensor>): string {
  const hashes = [...tensors].map(([name, { values }]) => `${name} ${sha256(bytesOf(values))}`).sort();
  return sha256([JSON.stringify(factsSchema.parse(facts)), ...hashes].join("\n"));
}

const bytesOf = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
const damaged = (message: string) => new EverloraError("run_corrupted", message);
