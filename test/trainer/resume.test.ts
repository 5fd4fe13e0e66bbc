/** A run whose processes are killed in mid-training ends with the adapter that it would have had: the real trainer, on a toy model. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { sha256 } from "../../shared/events/conversation.ts";
import { newRunId, type TrainingOverrides } from "../../shared/events/queues.ts";
import { checkpointFile, type Run } from "../../shared/runs/run.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { writeToyModel } from "../support/toy_model.ts";
import { until } from "../support/wait.ts";
import { Bench } from "./support/bench.ts";
import { childOf, forkTrainer } from "./support/process.ts";

const trainers = new URL("../../services/trainer/trainers/trainers.ts", import.meta.url).href;
/** Everything on that has a state of its own: dropout, accumulation, early stopping, decay of the learning rate. */
const config: TrainingOverrides = { rank: 4, alpha: 8, epochs: 60, learning_rate: 0.01, sequence_length: 64, batch_size: 1, accumulation: 2, dropout: 0.1, weight_decay: 0.01, evaluation: 25, patience: 0, schedule: "linear", gradient_checkpointing: "on" };

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

/** A data folder with a toy model and rows; the gate lets everything through that beats the base. */
async function bench(t: TestContext, environment: Record<string, string> = {}): Promise<Bench> {
  const on = await Bench.open(redis.url, {}, { GENERAL_TOLERANCE: "10", COMPUTE_THREADS: "1", CHECKPOINT_SECONDS: "0", CHECKPOINT_STEPS: "7", ...environment });
  t.after(() => on.close());
  await writeToyModel(on.paths.baseModel);
  await on.rows("technical", 24);
  return on;
}

const trainerFor = (on: Bench) => forkTrainer(on, { trainers });

/** A job that is tried again at once. */
async function enqueue(on: Bench, overrides: TrainingOverrides = config): Promise<string> {
  const id = newRunId();
  await on.queue.add("technical", { runId: id, domain: "technical", reason: "manual", force: false, overrides, requestedAt: Date.now() }, { jobId: id, attempts: 3, backoff: { type: "fixed", delay: 10 }, deduplication: { id: "technical" } });
  return id;
}

const adapterHash = async (on: Bench, run: Run) => sha256(await readFile(join(on.paths.loras, "technical", run.generation ?? "", "adapter_model.safetensors")));
const ended = async (on: Bench, id: string) => {
  const run = await on.runIn(id, "published", "rejected", "failed");
  assert.equal(run.state, "published", `${run.error?.message} ${run.gate?.reasons.join(" ")}`);
  return run;
};
const steps = async (on: Bench, id: string) => (await on.lines(id, "metrics.jsonl")).map(({ step, loss }) => ({ step, loss }));

test("the run child killed, then the trainer: the run goes on by itself and ends with the same bits as one that nobody touched", async (t) => {
  const whole = await bench(t);
  const undisturbed = await trainerFor(whole);
  const expectedId = await enqueue(whole);
  const expected = await ended(whole, expectedId);
  const [expectedHash, expectedSteps] = [await adapterHash(whole, expected), await steps(whole, expectedId)];
  assert.equal(expected.training?.resumedAt, null);
  await until("the checkpoint to go", () => !existsSync(join(whole.paths.runs, expectedId, checkpointFile)));
  assert.equal(await undisturbed.end("SIGTERM"), 0);

  const cut = await bench(t);
  const checkpoint = (id: string) => join(cut.paths.runs, id, checkpointFile);
  const first = await trainerFor(cut);
  const id = await enqueue(cut);
  await until("a checkpoint", () => existsSync(checkpoint(id)));
  process.kill(await childOf(first), "SIGKILL");
  await until("the second attempt", async () => ((await cut.run(id))?.attempt ?? 0) === 2);
  const before = (await steps(cut, id)).length;
  await until("steps of the second attempt", async () => (await steps(cut, id)).length > before + 8 || /checkpoint of step/.test(await cut.logOf(id)));
  await first.end("SIGKILL");
  const second = await trainerFor(cut);
  const run = await ended(cut, id);
  assert.equal(run.attempt, 3);
  assert.ok((run.training?.resumedAt ?? 0) >= 7 && (run.training?.resumedAt ?? 0) % 7 === 0, `it went on from ${run.training?.resumedAt}`);
  assert.equal(await adapterHash(cut, run), expectedHash);
  assert.equal(run.generation, expected.generation);
  assert.deepEqual({ ...run.training, resumedAt: null }, expected.training);
  assert.ok((run.training?.packing ?? 0) > 0.5);
  assert.deepEqual([run.losses, run.gate?.heldOut, run.forgetting], [expected.losses, expected.gate?.heldOut, expected.forgetting]);
  // A trainer that is killed takes the few lines with it that it had not written yet; each that is there is the one of the undisturbed run.
  const recorded = await steps(cut, id);
  assert.deepEqual(recorded, expectedSteps.filter(({ step }) => recorded.some((line) => line.step === step)));
  assert.deepEqual(recorded.slice(-(expectedSteps.length - (run.training?.resumedAt ?? 0))), expectedSteps.slice(run.training?.resumedAt ?? 0));
  await until("the checkpoint to go", () => !existsSync(checkpoint(id)));
  assert.equal(await second.end("SIGTERM"), 0);
});

test("a checkpoint that is damaged is named in the log, and the run begins at step 1", async (t) => {
  const on = await bench(t);
  const first = await trainerFor(on);
  const id = await enqueue(on);
  const path = join(on.paths.runs, id, checkpointFile);
  await until("a checkpoint", () => existsSync(path));
  assert.equal(await first.end("SIGTERM"), 0); // an orderly end keeps it, too
  const bytes = await readFile(path);
  bytes[bytes.length - 3] = (bytes.at(-3) ?? 0) ^ 0x40;
  await writeFile(path, bytes);
  await trainerFor(on);
  const run = await ended(on, id);
  assert.equal(run.training?.resumedAt, null);
  assert.match(await on.logOf(id), /The checkpoint is not used, the training begins at step 1: its numbers are not those that were written/);
});
