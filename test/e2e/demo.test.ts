/** The demo as a user runs it, with real everything; few epochs and few domains, to be done in reasonable time. */
import assert from "node:assert/strict";
import { access, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import { everlora } from "../support/command_line.ts";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/wait.ts";

const losses = z.object({ first: z.number(), last: z.number() });
const resultSchema = z.object({
  ok: z.boolean(),
  reason: z.string(),
  conversations: z.int(),
  dataFolder: z.string(),
  domains: z.array(
    z.object({
      domain: z.string(),
      found: z.int(),
      dropped: z.record(z.string(), z.int()),
      rows: z.object({ total: z.int(), train: z.int(), heldOut: z.int() }),
      run: z.object({ id: z.string(), state: z.string(), losses: losses.nullable(), heldOut: z.object({ base: z.number(), adapter: z.number() }).nullable(), decision: z.string().nullable() }).nullable(),
      live: z.object({ generation: z.string(), since: z.int(), firstAnswerMs: z.number().nullable() }).nullable(),
    }),
  ),
  comparison: z.object({ domain: z.string(), base: z.object({ answer: z.string(), loss: z.number() }), adapter: z.object({ answer: z.string(), loss: z.number() }) }),
});

const linesOf = async (file: string) => (await readFile(file, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
const jsonOf = async (file: string) => z.looseObject({}).parse(JSON.parse(await readFile(file, "utf8")));

test("the loop turns, and its figures are those of the files that it left", async (context) => {
  const folder = await temporaryFolder(context, "demo-test");
  const demo = everlora(["demo", "--json"], { TMPDIR: folder, TRAINING_EPOCHS: "1", MIN_EXAMPLES_PER_DOMAIN: "117" });
  context.after(() => demo.child.kill("SIGTERM"));
  const code = await demo.ended;
  assert.equal(code, 0, demo.stderr());
  const result = resultSchema.parse(JSON.parse(demo.stdout()));
  assert.equal(result.ok, true);
  assert.ok(result.dataFolder.startsWith(folder));

  assert.equal(
    result.domains.reduce((sum, { found }) => sum + found, 0),
    result.conversations,
    "every conversation became a row or was dropped for a reason",
  );
  for (const { domain, found, dropped, rows, run, live } of result.domains) {
    const training = join(result.dataFolder, "training_data", domain);
    const drops = (await linesOf(join(training, "drops.jsonl"))).length;
    assert.equal(rows.total, (await linesOf(join(training, "rows.jsonl"))).length, domain);
    assert.equal(found, rows.total + drops, domain);
    assert.equal(
      Object.values(dropped).reduce((sum, count) => sum + count, 0),
      drops,
      domain,
    );
    assert.equal(rows.train + rows.heldOut, rows.total);
    if (run === null) assert.ok(rows.total < 117, `${domain} has enough rows and no run`);
    else {
      const record = z.object({ state: z.string(), losses: losses.nullable(), gate: z.object({ heldOut: z.object({ base: z.number(), adapter: z.number() }) }).nullable(), generation: z.string().nullable() }).parse(await jsonOf(join(result.dataFolder, "runs", run.id, "run.json")));
      assert.deepEqual([run.state, run.losses, run.heldOut?.base, run.heldOut?.adapter], [record.state, record.losses, record.gate?.heldOut.base, record.gate?.heldOut.adapter]);
      if (run.state === "published") assert.equal(live?.generation, record.generation);
    }
    if (live === null) continue;
    const pointer = await jsonOf(join(result.dataFolder, "loras", domain, "live.json"));
    assert.deepEqual([live.generation, live.since], [pointer["generation"], pointer["since"]]);
    await access(join(result.dataFolder, "loras", domain, live.generation, "adapter_model.safetensors"));
    assert.ok(live.firstAnswerMs !== null && live.firstAnswerMs >= 0);
  }
  const best = result.domains.find(({ domain }) => domain === result.comparison.domain);
  assert.ok(best?.live !== null);
  assert.ok((best?.run?.heldOut?.adapter ?? Infinity) < (best?.run?.heldOut?.base ?? 0), "what went live is better");
});

test("Ctrl-C in the middle ends the demo with 130 and leaves nothing", async (context) => {
  const folder = await temporaryFolder(context, "demo-test");
  const demo = everlora(["demo"], { TMPDIR: folder });
  context.after(() => demo.child.kill("SIGKILL"));
  await until("it has begun", () => demo.stderr().includes("conversations into the cache"), 120_000);
  demo.child.kill("SIGINT");
  assert.equal(await demo.ended, 130);
  assert.deepEqual((await readdir(folder)).filter((name) => name.startsWith("everlora-demo-")), []);
});

test("a base model that isn't there ends the demo with its message", async (context) => {
  const folder = await temporaryFolder(context, "demo-test");
  const demo = everlora(["demo", "--json"], { TMPDIR: folder, BASE_MODEL: join(folder, "no-model") });
  assert.equal(await demo.ended, 1);
  assert.match(demo.stderr(), /no-model[^]*BASE_MODEL/);
  assert.equal(demo.stdout(), "");
});
