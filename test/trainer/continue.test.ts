/** Going on from the live adapter, replay, forgetting: the real trainer on a toy model, and the parts alone. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { selectRows } from "../../services/trainer/run/replay.ts";
import { enqueueFineTune, type TrainingOverrides } from "../../shared/events/queues.ts";
import { readLive } from "../../shared/peft/registry.ts";
import type { Run } from "../../shared/runs/run.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { writeToyModel } from "../support/toy_model.ts";
import { until } from "../support/wait.ts";
import { Bench } from "./support/bench.ts";

const trainers = new URL("../../services/trainer/trainers/trainers.ts", import.meta.url).href;
const config: TrainingOverrides = { rank: 4, alpha: 8, epochs: 8, learning_rate: 0.01, sequence_length: 64, batch_size: 2 };

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

async function bench(t: TestContext): Promise<Bench> {
  const on = await Bench.open(redis.url, {}, { GENERAL_TOLERANCE: "10", COMPUTE_THREADS: "1" });
  t.after(() => on.close());
  await writeToyModel(on.paths.baseModel);
  await on.rows("technical", 24);
  await on.trainer({ trainers });
  return on;
}

async function runOf(on: Bench, overrides: TrainingOverrides): Promise<Run> {
  await until("the domain to be free", async () => (await on.queue.getJobCounts("active", "waiting", "delayed"))["active"] === 0);
  const { runId, added } = await enqueueFineTune(on.queue, { domain: "technical", reason: "manual", overrides });
  assert.ok(added);
  return on.runIn(runId, "published", "rejected", "failed");
}

test("a run goes on from the live adapter: new rows, a share of the old ones that are still there, and what it forgot is recorded", async (t) => {
  const on = await bench(t);
  const first = await runOf(on, config);
  assert.equal(first.state, "published", String(first.gate?.reasons));
  assert.deepEqual([first.training?.continued, first.forgetting?.live], [null, null]);
  assert.equal(first.forgetting?.base, (first.gate?.general.adapter ?? NaN) - (first.gate?.general.base ?? NaN));

  // A person has four of the old rows erased, and eight new ones come.
  const path = join(on.paths.trainingData, "technical", "rows.jsonl");
  const lines = (await readFile(path, "utf8")).trim().split("\n");
  const erased = lines.slice(0, 4).map((line) => (JSON.parse(line) as { id: string }).id);
  await writeFile(path, `${lines.slice(4).join("\n")}\n`);
  await on.rows("technical", 8, { from: 100 });
  const second = await runOf(on, { ...config, start: "live", replay: 0.5, epochs: 2 });
  // 24 rows: every fourth is held out, so 18 were trained on, 3 of which are erased; 6 of the 8 new ones are for training.
  assert.deepEqual(second.training?.continued, { generation: first.generation, fresh: 6, replayed: 8 });
  assert.ok(erased.every((id) => second.dataset?.rowIds.includes(id) === false), "what was erased does not come back");
  assert.match(await on.logOf(second.id), new RegExp(`goes on from the live adapter ${first.generation}, with 6 new rows and 8 repeated ones`));
  assert.match(await on.logOf(second.id), /14 rows, \d+ tokens/);
  assert.ok(Number.isFinite(second.forgetting?.live));
  // It begins where the live one stands: far below what the first run began with.
  assert.ok((second.losses?.first ?? Infinity) < (first.losses?.first ?? 0) * 0.7, `${second.losses?.first} after ${first.losses?.first}`);

  const other = await runOf(on, { ...config, start: "live", rank: 2, epochs: 1 });
  assert.equal(other.training?.continued, null);
  assert.match(await on.logOf(other.id), /can't be gone on from: its rank on model\.layers\.0\.self_attn\.q_proj is 4, this run's is 2\./);
  assert.match(await on.logOf(other.id), /the run starts with a new one/);
});

test("a run is done again from its record to the same bits: a first one, and one that went on from what was live then", async (t) => {
  const on = await bench(t);
  const everything: TrainingOverrides = { ...config, dropout: 0.1, accumulation: 2, batch_size: 1, weight_decay: 0.01, patience: 1, evaluation: 5, seed: 99, gradient_checkpointing: "on" };
  const again = async (run: Run) => {
    await until("the domain to be free", async () => (await on.queue.getJobCounts("active"))["active"] === 0);
    const { runId } = await enqueueFineTune(on.queue, { domain: "technical", reason: "manual", force: true, reproduces: run.id });
    return on.runIn(runId, "published", "rejected", "failed");
  };
  const first = await runOf(on, everything);
  assert.equal(first.state, "published", String(first.gate?.reasons));
  await on.rows("technical", 12, { from: 200 }); // what came later changes nothing
  const second = await runOf(on, { ...everything, start: "live", replay: 0.4, epochs: 3 });
  assert.equal(second.training?.continued?.generation, first.generation);
  for (const run of [first, second]) {
    const copy = await again(run);
    assert.equal(copy.state, "rejected", copy.error?.message ?? "");
    assert.deepEqual([copy.produced, copy.reproduces, copy.reproduction], [run.produced, run.id, { expected: run.produced, same: true }]);
    assert.deepEqual([copy.settings, copy.training, copy.losses, copy.forgetting, copy.dataset], [run.settings, run.training, run.losses, run.forgetting, run.dataset]);
    assert.match(await on.logOf(copy.id), new RegExp(`The adapter is that of ${run.id}, bit for bit`));
  }
  const live = (await readLive(on.paths.loras, "technical"))?.generation;
  assert.equal(live, second.state === "published" ? second.generation : first.generation, "what is done again never goes live");
  // A row of it is erased: then it can't be done again.
  const path = join(on.paths.trainingData, "technical", "rows.jsonl");
  await writeFile(path, `${(await readFile(path, "utf8")).trim().split("\n").slice(1).join("\n")}\n`);
  const refused = await again(first);
  assert.deepEqual([refused.state, refused.error?.code], ["failed", "conflict"]);
  assert.match(refused.error?.message ?? "", /are not all there any more/);
});

test("with nothing live, a run that should go on starts with a new adapter and says so; a layer that isn't there is refused", async (t) => {
  const on = await bench(t);
  const refused = await runOf(on, { ...config, targets: ["q_proj", "c_attn"] });
  assert.equal(refused.state, "failed");
  assert.match(refused.error?.message ?? "", /no linear layer "c_attn"/);
  assert.match(refused.error?.hint ?? "", /all-linear, attention, mlp, or some of: q_proj, k_proj/);
  const run = await runOf(on, { ...config, start: "live", targets: ["attention"], rslora: true, epochs: "auto" });
  assert.equal(run.training?.continued, null);
  assert.equal(run.training?.epochs, 10);
  assert.match(await on.logOf(run.id), /There is no live adapter to go on from/);
  assert.equal(run.state, "published", String(run.gate?.reasons));
  const written = JSON.parse(await readFile(join(on.paths.loras, "technical", run.generation ?? "", "adapter_config.json"), "utf8")) as Record<string, unknown>;
  assert.deepEqual([written["target_modules"], written["use_rslora"], written["lora_dropout"]], [["k_proj", "o_proj", "q_proj", "v_proj"], true, 0]);
});

test("replay draws a share of the known rows by the seed, keeps the order, and takes all of them where nothing is new", () => {
  const rows = Array.from({ length: 40 }, (_, at) => ({ id: String(at) }));
  const known = new Set(rows.slice(0, 30).map(({ id }) => id));
  const selected = selectRows(rows, known, 0.2, 1);
  assert.deepEqual([selected.fresh, selected.replayed, selected.rows.length], [10, 6, 16]);
  assert.deepEqual(selected.rows, rows.filter((row) => selected.rows.includes(row)));
  assert.deepEqual(selectRows(rows, known, 0.2, 1), selected);
  assert.notDeepEqual(selectRows(rows, known, 0.2, 2).rows, selected.rows);
  assert.deepEqual(selectRows(rows, known, 0, 1).rows, rows.slice(30));
  assert.deepEqual(selectRows(rows, known, 1, 1).rows, rows);
  assert.deepEqual([selectRows(rows, null, 0.2, 1).fresh, selectRows(rows, null, 0.2, 1).rows.length], [40, 40]);
  assert.deepEqual(selectRows(rows.slice(0, 30), known, 0.1, 1), { rows: rows.slice(0, 30), fresh: 0, replayed: 30 });
  assert.deepEqual(selectRows([], known, 0.5, 1), { rows: [], fresh: 0, replayed: 0 });
});
