/** The commands about data, as a user runs them: what they say, what they leave, and how they end. */
import assert from "node:assert/strict";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { dataReportSchema } from "../../shared/datasets/commands.ts";
import { aboutLaw, allRows } from "../collector/support.ts";
import { everlora } from "../support/command_line.ts";
import { temporaryFolder } from "../support/folder.ts";

const newData = (t: TestContext) => temporaryFolder(t, "data");

async function run(data: string, parameters: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const running = everlora(parameters, { DATA_DIR: data, ...environment });
  const code = await running.ended;
  return { code, stdout: running.stdout(), stderr: running.stderr() };
}

const chatLine = (number: number) => {
  const { messages, answer } = aboutLaw(number);
  return JSON.stringify({ messages: [...messages, answer] });
};

test("import keeps the good records, names the bad ones, takes a file once, and export gives it back", async (t) => {
  const data = await newData(t);
  const file = join(data, "chats.jsonl");
  await writeFile(file, [chatLine(0), "{broken", chatLine(1), JSON.stringify({ messages: [{ role: "user", content: "Write to ana.souza@example.com about the lease contract, dear lawyer" }, { role: "assistant", content: "The tenant wrote to ana.souza@example.com; a lawyer reads the lease clause." }] })].join("\n"));
  const dry = await run(data, ["import", file, "--dry-run"]);
  assert.match(dry.stdout, /4 records, 3 would become rows/);
  assert.deepEqual((await readdir(join(data, "training_data"), { recursive: true })).filter((name) => name.endsWith(".jsonl")), []);
  const first = await run(data, ["import", file, "--json"]);
  assert.equal(first.code, 1);
  assert.match(first.stderr, new RegExp(`^${file}:2:2: not JSON`));
  const report = dataReportSchema.parse(JSON.parse(first.stdout));
  assert.ok(report.command === "import");
  assert.deepEqual(report.files.map(({ format, records, faults, outcome }) => [format, records, faults, outcome.rows, outcome.anonymised]), [["chat", 4, 1, 3, { EMAIL: 2 }]]);
  const again = await run(data, ["import", file]);
  assert.match(again.stdout, /0 became rows, 0 dropped, 3 known already, 1 unreadable/);

  const out = join(data, "legal.jsonl");
  assert.equal((await run(data, ["export", "--domain", "legal", "--out", out])).code, 0);
  const lines = (await readFile(out, "utf8")).trim().split("\n");
  assert.equal(lines.length, 3);
  assert.deepEqual(JSON.parse(lines[0] ?? ""), JSON.parse(chatLine(0)));
  assert.ok(!lines.join().includes("ana.souza"));
  assert.match((await run(data, ["validate", out])).stdout, /3 records, nothing is wrong/);
  const nothing = await run(data, ["forget"]);
  assert.deepEqual([nothing.code, nothing.stderr], [1, "everlora: Nothing says which rows to forget.\n  Name --caller, --row or --match.\n"]);
  const forgotten = await run(data, ["forget", "--match", "[EMAIL]"]);
  assert.match(forgotten.stdout, /^1 rows were removed \(1 legal\)/);
  assert.equal((await allRows(data)).length, 2);
});

test("validate says all that is wrong at once, for several files", async (t) => {
  const data = await newData(t);
  await writeFile(join(data, "a.jsonl"), `${chatLine(0)}\n{"messages": []}\n{"messages": 1}\n`);
  await writeFile(join(data, "b.csv"), "question,answer\nA?,\nB?,C.\n");
  const { code, stdout } = await run(data, ["validate", join(data, "a.jsonl"), join(data, "b.csv")]);
  assert.equal(code, 1);
  assert.deepEqual(stdout.split("\n").filter((line) => /:\d+:\d+: /.test(line)).map((line) => line.slice(data.length + 1).split(": ")[0]), ["a.jsonl:2:14", "a.jsonl:3:14", "b.csv:2:1"]);
  // A file that can't be opened is one more thing that is wrong, and keeps no other from being looked at.
  await writeFile(join(data, "c.bin"), "\0\x01\x02");
  const missing = await run(data, ["validate", join(data, "none.jsonl"), data, join(data, "c.bin"), join(data, "b.csv")]);
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /none\.jsonl: ENOENT.*\n[^]*: EISDIR[^]*c\.bin: none of the formats .* is recognised\. Name the format with --format[^]*b\.csv:2:1: /);
  assert.match(missing.stdout, /none\.jsonl \(unknown\): 0 records, 1 with faults\n/);
  assert.equal((await run(data, ["validate", join(data, "b.csv"), "--format", "xml"])).stderr.split("\n")[0], "everlora: --format xml is not known.");
  assert.match((await run(data, ["import", join(data, "a.jsonl"), "--domain", "nonsense"])).stderr, /no domain "nonsense"/);
});
