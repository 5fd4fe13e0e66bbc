import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { lockFolder } from "../../cli/fleet/folder_lock.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { temporaryFolder } from "../support/folder.ts";

async function lockFile(context: TestContext): Promise<string> {
  return join(await temporaryFolder(context, "lock"), ".everlora", "up.lock");
}

test("a second lock is refused and names the owner; after the release it is granted", async (context) => {
  const file = await lockFile(context);
  const lock = await lockFolder(file);
  await assert.rejects(lockFolder(file), (error: unknown) => error instanceof EverloraError && error.code === "already_running" && error.message.includes(`Process ${process.pid} `));
  await lock.release();
  const again = await lockFolder(file);
  await again.release();
  assert.deepEqual(await readdir(join(file, "..")), [], "nothing is left");
});

test("a folder that can't be made is a bad setting, and named", async (context) => {
  const folder = dirname(dirname(await lockFile(context)));
  await writeFile(join(folder, "file"), "");
  await assert.rejects(lockFolder(join(folder, "file", ".everlora", "up.lock")), (error: unknown) => error instanceof EverloraError && error.code === "invalid_settings" && error.message.startsWith(`DATA_DIR="${join(folder, "file")}": cannot be written: ENOTDIR`));
});

test("the lock of a process that is gone is taken over", async (context) => {
  const file = await lockFile(context);
  const gone = spawn("true");
  await new Promise((resolve) => gone.once("close", resolve));
  const first = await lockFolder(file);
  await writeFile(file, JSON.stringify({ pid: gone.pid, started: "1" }));
  await first.release();
  assert.match(await readFile(file, "utf8"), /"started":"1"/, "a lock that is not ours stays");
  const lock = await lockFolder(file);
  assert.equal((JSON.parse(await readFile(file, "utf8")) as { pid: number }).pid, process.pid);
  await lock.release();
});

test("a later process with the owner's number is not the owner", { skip: process.platform === "linux" ? false : "needs /proc" }, async (context) => {
  const file = await lockFile(context);
  const first = await lockFolder(file);
  await writeFile(file, JSON.stringify({ pid: process.pid, started: "1" }));
  await first.release();
  const lock = await lockFolder(file);
  await lock.release();
});

test("a damaged lock file is taken over", async (context) => {
  const file = await lockFile(context);
  const first = await lockFolder(file);
  await writeFile(file, "{");
  const second = await lockFolder(file);
  await first.release();
  await assert.rejects(lockFolder(file), /already/);
  await second.release();
});

test("of many that ask at once for a stale lock exactly one gets it", async (context) => {
  const file = await lockFile(context);
  const first = await lockFolder(file);
  await writeFile(file, JSON.stringify({ pid: 2 ** 22 + 1, started: "1" }));
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(file)));
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
  await first.release();
});
