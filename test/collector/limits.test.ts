/** Files that would take all memory: read by a process that has too little for what they hold, they cost no more than their own records. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { createWriteStream } from "node:fs";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { newFolder } from "./support.ts";

const heapMegabytes = 96;
const long = 100 * 1024 * 1024;

let folder: Awaited<ReturnType<typeof newFolder>>;
before(async () => void (folder = await newFolder()));
after(() => folder.remove());

/** @returns null when it took more memory than it had */
async function readIn(path: string, format: string): Promise<{ drafts: number; faults: string[] } | null> {
  const reader = fork(fileURLToPath(new URL("support/reader.ts", import.meta.url)), [path, format], { execArgv: [`--max-old-space-size=${heapMegabytes}`, "--import", "tsx"], stdio: ["ignore", "ignore", "ignore", "ipc"] });
  let told: { drafts: number; faults: string[] } | null = null;
  reader.once("message", (message) => (told = message as { drafts: number; faults: string[] }));
  await once(reader, "exit");
  return told;
}

/** `before`, 100 MB of x, `behind`. */
async function write(name: string, before: string, behind: string): Promise<string> {
  const path = join(folder.path, name);
  const file = createWriteStream(path);
  file.write(before);
  for (let bytes = 0; bytes < long; bytes += 1 << 20) if (!file.write("x".repeat(1 << 20))) await once(file, "drain");
  file.end(behind);
  await once(file, "close");
  return path;
}

const chat = '{"messages":[{"role":"user","content":"Q?"},{"role":"assistant","content":"A."}]}';

describe("a record of 100 MB", () => {
  it("is skipped in JSON lines, in an array and in PubMedQA's object, and what follows is read", async () => {
    assert.deepEqual(await readIn(await write("a.jsonl", `${chat}\n{"messages":"`, `"}\n${chat}\n`), "chat"), { drafts: 2, faults: ["2: longer than 16777216 characters; it is skipped"] });
    assert.deepEqual(await readIn(await write("b.json", `[${chat},\n{"messages":"`, `"},\n${chat}]\n`), "chat"), { drafts: 2, faults: ["2: longer than 16777216 characters; it is skipped"] });
    const member = '{"QUESTION":"Q?","CONTEXTS":["C."],"LONG_ANSWER":"A."}';
    assert.deepEqual(await readIn(await write("c.json", `{"1":${member},\n"2":{"QUESTION":"`, `"},\n"3":${member}}\n`), "pubmedqa"), { drafts: 2, faults: ["2: longer than 16777216 characters; it is skipped"] });
  });

  it("is skipped in CSV; a quote that is never closed takes what follows with it", async () => {
    assert.deepEqual(await readIn(await write("d.csv", "question,answer\nQ?,A.\nR?,", "\nS?,B.\n"), "csv"), { drafts: 2, faults: ["3: a record is longer than 16777216 characters; a quote may be missing"] });
    const open = await readIn(await write("e.csv", 'question,answer\nQ?,A.\nR?,"', "\nS?,B.\n"), "csv");
    assert.equal(open?.drafts, 1);
    assert.match(open.faults.join("\n"), /^3: a record is longer than 16777216 characters; a quote may be missing(?:\n\d: a quote that was opened is never closed)?$/);
  });

  it("would end a process that held it", async () => {
    assert.equal(await readIn("", "held"), null);
  });
});
