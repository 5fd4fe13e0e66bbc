import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import { enqueueFineTune } from "../../shared/events/queues.ts";
import { streams } from "../../shared/events/streams.ts";
import { readLive } from "../../shared/peft/registry.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";
import { Bench } from "./support/bench.ts";
import type { Behaviour } from "./support/fake_trainers.ts";
import { childOf, commandOf, forkTrainer } from "./support/process.ts";

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

async function bench(t: TestContext, behaviour: Behaviour): Promise<Bench> {
  const opened = await Bench.open(redis.url, behaviour);
  t.after(() => opened.close());
  await opened.rows("technical", 20);
  return opened;
}

const enqueue = async (on: Bench) => (await enqueueFineTune(on.queue, { domain: "technical", reason: "manual" })).runId;

test("kill -9 of the trainer in mid-run: its child dies with it, the job runs again by itself under the same run, and ends", async (t) => {
  const on = await bench(t, { waitAfterStep: 2, steps: 4 });
  const first = await forkTrainer(on);
  const id = await enqueue(on);
  await on.stepsOf(id, 2);
  const orphan = await childOf(first);
  await first.end("SIGKILL");
  await until("the orphan to be gone", async () => (await commandOf(orphan)) === "");
  assert.equal((await on.run(id))?.state, "running"); // nobody was left to say otherwise

  const second = await forkTrainer(on);
  await until("the second attempt", async () => ((await on.run(id))?.attempt ?? 0) === 2);
  await on.go();
  const run = await on.runIn(id, "published", "failed");
  assert.equal(run.state, "published");
  assert.equal(run.attempt, 2);
  assert.equal(run.handedBack, 0);
  assert.deepEqual((await on.lines(id, "metrics.jsonl")).map((line) => line["step"]), [1, 2, 3, 4]);
  assert.match(await on.logOf(id), /Attempt 1 begins\.[^]*Attempt 2 begins\./);
  assert.equal((await readLive(on.paths.loras, "technical"))?.generation, run.generation);
  assert.equal(await on.redis.xlen(streams.adapters.key), 1);
  assert.equal(await second.end("SIGTERM"), 0);
});

test("a job that takes its trainer down each time is given up after three starts", async (t) => {
  const on = await bench(t, { waitAfterStep: 2 });
  const id = await enqueue(on);
  for (let start = 1; start <= 3; start++) {
    const trainer = await forkTrainer(on);
    await until(`attempt ${start}`, async () => ((await on.run(id))?.attempt ?? 0) === start);
    await on.stepsOf(id, 2);
    await trainer.end("SIGKILL");
  }
  const trainer = await forkTrainer(on);
  const run = await on.runIn(id, "failed");
  assert.equal(run.attempt, 4); // the fourth attempt is the one that gives up
  assert.match(run.error?.message ?? "", /started 3 times and never came to an end/);
  await until("the job to fail", async () => (await (await on.queue.getJob(id))?.getState()) === "failed");
  assert.equal(await trainer.end("SIGTERM"), 0);
});

test("SIGTERM: the child ends, the job goes back into the queue at once, and no start is held against it", async (t) => {
  const on = await bench(t, { waitAfterStep: 2 });
  const first = await forkTrainer(on);
  const id = await enqueue(on);
  await on.stepsOf(id, 2);
  const child = await childOf(first);
  assert.equal(await first.end("SIGTERM"), 0);
  assert.equal(await commandOf(child), "");
  const job = await on.queue.getJob(id);
  assert.equal(await job?.getState(), "waiting");
  assert.equal(job?.attemptsMade, 0);
  const handedBack = await on.run(id);
  assert.deepEqual({ state: handedBack?.state, handedBack: handedBack?.handedBack, attempt: handedBack?.attempt, error: handedBack?.error }, { state: "queued", handedBack: 1, attempt: 1, error: null });
  // The domain still has its job: a second one is refused.
  assert.deepEqual(await enqueueFineTune(on.queue, { domain: "technical", reason: "manual" }), { added: false, runId: id });

  await on.go();
  const second = await forkTrainer(on);
  const run = await on.runIn(id, "published", "failed");
  assert.equal(run.state, "published");
  assert.equal(run.attempt, 2);
  assert.equal((await on.queue.getJob(id))?.stalledCounter, 0);
  assert.equal(await second.end("SIGTERM"), 0);
});

test("a trainer that was asleep while another took its job over does not publish and spoils nothing", async (t) => {
  const on = await bench(t, { waitAfterStep: 2 });
  const sleeper = await forkTrainer(on);
  const id = await enqueue(on);
  await on.stepsOf(id, 2);
  const oldChild = await childOf(sleeper);
  sleeper.process.kill("SIGSTOP");
  const other = await forkTrainer(on);
  await until("the second attempt", async () => ((await on.run(id))?.attempt ?? 0) === 2);
  // Now both children end their training; the sleeper's comes first, and finds nobody to ask.
  await on.go();
  const run = await on.runIn(id, "published", "failed");
  assert.equal(run.state, "published");
  assert.equal(run.attempt, 2);
  sleeper.process.kill("SIGCONT");
  await until("the old child to be gone", async () => (await commandOf(oldChild)) === "");
  assert.deepEqual(await on.run(id), run);
  assert.equal(await on.redis.xlen(streams.adapters.key), 1);
  assert.equal(await sleeper.end("SIGTERM"), 0);
  assert.deepEqual(await on.run(id), run);
  assert.equal(await other.end("SIGTERM"), 0);
});
