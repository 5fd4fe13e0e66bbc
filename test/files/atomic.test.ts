import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { appendLinesSynced, createFileAtomic, createFolderAtomic, removeAbandonedTemporaries, removeTemporaries, writeFileAtomic, writeFileSynced } from "../../shared/files/atomic.ts";
import { contentOf, versionOf } from "./support/content.ts";

let root = "";
let folder = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "everlora-atomic-"));
});
beforeEach(async () => {
  folder = await mkdtemp(join(root, "case-"));
});
after(() => rm(root, { recursive: true, force: true }));

/** Starts a writer and gives what it reports to `look` until that is satisfied; then kills it at once, wherever it is. */
async function killed(kind: string, path: string, look: (message: unknown) => Promise<boolean> | boolean): Promise<void> {
  const child: ChildProcess = fork(fileURLToPath(new URL("support/writer.ts", import.meta.url)), [kind, path], { execArgv: ["--import", "tsx"] });
  const exit = once(child, "exit");
  try {
    for (;;) {
      const [message] = (await Promise.race([once(child, "message"), exit.then(() => assert.fail("the writer ended by itself"))])) as [unknown];
      if (await look(message)) break;
    }
  } finally {
    child.kill("SIGKILL");
    await exit;
  }
}
const written = (message: unknown) => (typeof message === "object" && message !== null && "written" in message ? Number(message.written) : 0);

test("who waits for a new file is told when it can be read; what goes wrong there is told in the end, and the file stays", async () => {
  const path = join(folder, "file");
  await writeFile(path, "old");
  let seen = "";
  await writeFileAtomic(path, "new", { visible: async () => (seen = await readFile(path, "utf8")) });
  assert.equal(seen, "new");
  await assert.rejects(writeFileAtomic(path, "newer", { visible: () => Promise.reject(new Error("nobody hears the bell")) }), /nobody hears the bell/);
  assert.equal(await readFile(path, "utf8"), "newer");
});

test("a writer killed anywhere leaves a whole file, no older than the last that it acknowledged; a reader never sees a part", async () => {
  const path = join(folder, "file");
  let acknowledged = 0;
  let readings = 0;
  for (const enough of [1, 6, 13]) {
    let seen = 0;
    await killed("file", path, async (message) => {
      acknowledged = written(message);
      const version = versionOf(await readFile(path, "utf8"));
      assert.ok(version !== undefined, "a reader saw a part");
      assert.ok(version >= acknowledged);
      readings++;
      return ++seen >= enough;
    });
    const version = versionOf(await readFile(path, "utf8"));
    assert.ok(version !== undefined && version >= acknowledged, `version ${version} after ${acknowledged} was acknowledged`);
  }
  assert.equal(readings, 20);
  await removeTemporaries(folder);
  assert.deepEqual(await readdir(folder), ["file"]);
});

test("a folder's writer killed between two files leaves no folder, and what it left is removed", async () => {
  await killed("folder", folder, (message) => typeof message === "object" && message !== null && "halfway" in message && message.halfway === 2);
  const names = await readdir(folder);
  const [whole, ...more] = names.filter((name) => !name.startsWith("."));
  assert.equal(whole, "folder-1");
  // Whether the second was finished before the kill came is chance; a part of it is never there.
  for (const name of [whole, ...more]) for (const file of ["first", "second"]) assert.ok(versionOf(await readFile(join(folder, name, file), "utf8")) !== undefined, `${name}/${file}`);
  await removeTemporaries(folder);
  assert.deepEqual((await readdir(folder)).filter((name) => name.startsWith(".")), []);
});

test("an appender killed anywhere keeps every acknowledged line, and the next one closes a torn one", async () => {
  const path = join(folder, "lines.jsonl");
  let acknowledged = 0;
  await killed("lines", path, (message) => (acknowledged = written(message)) >= 25);
  const text = await readFile(path, "utf8");
  const lines = text.split("\n").slice(0, -1);
  for (let line = 1; line <= acknowledged; line++) assert.equal(lines[line - 1], `{"line":${line}}`);
  await writeFile(path, `${text}{"torn":`);
  await appendLinesSynced(path, ["{}", "[]"]);
  assert.equal(await readFile(path, "utf8"), `${text}{"torn":\n{}\n[]\n`);
});

test("parents are made, old content is replaced, bytes are kept", async () => {
  const path = join(folder, "a", "b", "file");
  await writeFileAtomic(path, "one, longer");
  await writeFileAtomic(path, Uint8Array.of(0, 255, 10));
  assert.deepEqual([...(await readFile(path))], [0, 255, 10]);
  assert.deepEqual(await readdir(join(folder, "a", "b")), ["file"]);
});

test("writers at once: one of them wins, whole", async () => {
  const path = join(folder, "file");
  await Promise.all(Array.from({ length: 8 }, (_, version) => writeFileAtomic(path, contentOf(version))));
  assert.ok(versionOf(await readFile(path, "utf8")) !== undefined);
  assert.deepEqual(await readdir(folder), ["file"]);
});

test("a write that fails leaves the old file and nothing else", async () => {
  await mkdir(join(folder, "taken", "by-a-folder"), { recursive: true });
  await assert.rejects(writeFileAtomic(join(folder, "taken"), "x"));
  const path = join(folder, "file");
  await writeFileAtomic(path, "old");
  await assert.rejects(writeFileAtomic(path, 5 as unknown as string));
  assert.equal(await readFile(path, "utf8"), "old");
  assert.deepEqual((await readdir(folder)).sort(), ["file", "taken"]);
});

test("a folder whose filling fails does not appear; one that is there is not replaced", async () => {
  const path = join(folder, "folder");
  await assert.rejects(
    createFolderAtomic(path, async (temporary) => {
      await writeFileSynced(join(temporary, "part"), "x");
      throw new Error("the disk broke");
    }),
    /the disk broke/,
  );
  assert.deepEqual(await readdir(folder), []);
  await createFolderAtomic(path, (temporary) => writeFileSynced(join(temporary, "file"), "first"));
  await assert.rejects(createFolderAtomic(path, (temporary) => writeFileSynced(join(temporary, "file"), "second")), { code: /^(ENOTEMPTY|EEXIST)$/ });
  assert.equal(await readFile(join(path, "file"), "utf8"), "first");
  assert.deepEqual(await readdir(folder), ["folder"]);
});

test("only temporaries are removed, and only those that are meant", async () => {
  const names = [".a.tmp-0123456789ab", ".b.tmp-0123456789ab", "a", ".hidden", "x.tmp-1"];
  for (const name of names) await writeFile(join(folder, name), "");
  await mkdir(join(folder, ".c.tmp-0123456789ab"));
  await writeFile(join(folder, ".c.tmp-0123456789ab", "file"), "");
  await removeTemporaries(folder, /^\.a\./);
  assert.deepEqual((await readdir(folder)).sort(), [...names.slice(1), ".c.tmp-0123456789ab"].sort());
  await removeTemporaries(folder);
  assert.deepEqual((await readdir(folder)).sort(), [".hidden", "a", "x.tmp-1"]);
  await removeTemporaries(join(folder, "nowhere"));
});

test("appending nothing makes no file", async () => {
  await appendLinesSynced(join(folder, "lines"), []);
  assert.deepEqual(await readdir(folder), []);
  await appendLinesSynced(join(folder, "new", "lines"), ["a"]);
  await appendLinesSynced(join(folder, "new", "lines"), ["b"]);
  assert.equal(await readFile(join(folder, "new", "lines"), "utf8"), "a\nb\n");
});

test("a file that is written piece by piece appears whole or not at all, and keeps its mode", async () => {
  const path = join(folder, "pieces", "of", "text");
  await createFileAtomic(path, async (file) => {
    await file.appendFile("one ");
    assert.deepEqual((await readdir(join(folder, "pieces", "of"))).includes("text"), false);
    await file.appendFile("two");
  }, { mode: 0o600 });
  assert.equal(await readFile(path, "utf8"), "one two");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await assert.rejects(createFileAtomic(path, async (file) => {
    await file.appendFile("half");
    throw new Error("the disk is full");
  }), /the disk is full/);
  assert.equal(await readFile(path, "utf8"), "one two");
  assert.deepEqual(await readdir(join(folder, "pieces", "of")), ["text"]);
});

test("what a killed writer left goes after an hour of silence, and not before", async () => {
  const home = join(folder, "abandoned");
  await mkdir(home);
  for (const name of [".model.tmp-0011", ".other.tmp-0022", "model"]) await writeFile(join(home, name), "x");
  const long = new Date(Date.now() - 2 * 3_600_000);
  for (const name of [".model.tmp-0011", "model"]) await utimes(join(home, name), long, long);
  await removeAbandonedTemporaries(home);
  assert.deepEqual((await readdir(home)).sort(), [".other.tmp-0022", "model"]);
});
