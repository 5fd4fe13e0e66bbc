/** Imports that are cut off: by a full disk, and by a kill. What is there is whole; the same command again takes the rest, and nothing twice. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { importReportSchema } from "../../shared/datasets/commands.ts";
import { rowsPath } from "../../shared/datasets/rows.ts";
import { allRows } from "../collector/support.ts";
import { everlora } from "../support/command_line.ts";
import { until } from "../support/wait.ts";
import { chatLine, importJson, newData, run } from "./data_support.ts";

const count = 800;
const chats = Array.from({ length: count }, (_, number) => chatLine(number)).join("\n");

test("a disk that is full leaves no half-written row, says so, and the same import goes on when there is room", async (t) => {
  const mount = await newData(t);
  try {
    await promisify(execFile)("mount", ["-t", "tmpfs", "-o", "size=400k", "everlora-test", mount]);
  } catch {
    t.skip("no small disk to fill: mounting a tmpfs needs root");
    return;
  }
  try {
    const file = join(await newData(t), "chats.jsonl");
    await writeFile(file, chats);
    const full = await run(mount, ["import", file]);
    assert.equal(full.code, 1);
    assert.match(full.stderr, /The disk is full: .*\n +Free space on the disk of DATA_DIR and run the command again/);
    assert.equal(full.stdout, "");
    const before = await allRows(mount, false);
    assert.ok(before.length > 0 && before.length < count, `${before.length} rows are kept`);
    await promisify(execFile)("mount", ["-o", "remount,size=16m", mount]);
    const out = join(mount, "legal.jsonl");
    const { files } = await importJson(mount, [file]);
    assert.deepEqual(files.map(({ outcome }) => [outcome.rows + outcome.known, outcome.known]), [[count, before.length]]);
    const rows = await allRows(mount, false);
    assert.equal(rows.length, count);
    assert.equal(new Set(rows.map(({ id }) => id)).size, count);
    // An export that finds no room leaves no file, and the old one as it was.
    assert.equal((await run(mount, ["export", "--domain", "legal", "--out", out])).code, 0);
    const whole = await readFile(out, "utf8");
    await writeFile(join(mount, "ballast"), Buffer.alloc(32 << 20, 1)).catch(() => undefined);
    const noRoom = await run(mount, ["export", "--domain", "legal", "--format", "alpaca", "--out", out]);
    assert.equal(noRoom.code, 1);
    assert.match(noRoom.stderr, /ENOSPC|disk is full/i);
    await rm(join(mount, "ballast"));
    assert.equal(await readFile(out, "utf8"), whole);
  } finally {
    await promisify(execFile)("umount", ["-l", mount]);
  }
});

test("an import that is killed in mid-write is taken up where it was, every row once", async (t) => {
  const data = await newData(t);
  const file = join(data, "chats.jsonl");
  await writeFile(file, chats);
  const victim = everlora(["import", file], { DATA_DIR: data });
  const path = rowsPath(join(data, "training_data"), "legal");
  await until("the first rows", async () => (await stat(path).catch(() => ({ size: 0 }))).size > 0);
  victim.child.kill("SIGKILL");
  assert.equal(await victim.ended, "SIGKILL");
  // What did the work ends when it notices, and its lock with it.
  const { files } = await until("the lock of the one that was killed", async () => {
    const { stdout } = await run(data, ["import", file, "--json"]);
    return stdout !== "" && importReportSchema.parse(JSON.parse(stdout));
  });
  assert.equal((files[0]?.outcome.rows ?? 0) + (files[0]?.outcome.known ?? 0), count);
  assert.ok((files[0]?.outcome.known ?? 0) > 0 && (files[0]?.outcome.rows ?? 0) > 0, JSON.stringify(files));
  const rows = await allRows(data, false);
  assert.deepEqual([rows.length, new Set(rows.map(({ conversation }) => conversation)).size], [count, count]);
});
