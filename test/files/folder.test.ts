import assert from "node:assert/strict";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { makeFolder } from "../../shared/files/folder.ts";
import { temporaryFolder } from "../support/folder.ts";

const refused = (code: string) => (error: unknown) => error instanceof Error && "code" in error && error.code === code;

test("a folder is made with those above it, with the mode that is asked for, and again is fine", async (context) => {
  const folder = join(await temporaryFolder(context, "folder"), "a", "b", "c");
  await makeFolder(folder, 0o700);
  for (const path of [folder, join(folder, "..")]) assert.equal((await stat(path)).mode & 0o777, 0o700);
  await makeFolder(folder);
  assert.equal((await stat(folder)).mode & 0o777, 0o700, "what is there stays as it is");
  await makeFolder("/");
});

test("many may make the same folder at once", async (context) => {
  const folder = join(await temporaryFolder(context, "folder"), "a", "b", "c");
  await Promise.all(Array.from({ length: 16 }, () => makeFolder(folder)));
  assert.ok((await stat(folder)).isDirectory());
});

test("a file in the way is said, in the folder's place and above it", async (context) => {
  const file = join(await temporaryFolder(context, "folder"), "file");
  await writeFile(file, "");
  await assert.rejects(makeFolder(file), refused("EEXIST"));
  await assert.rejects(makeFolder(join(file, "below", "it")), refused("ENOTDIR"));
});
