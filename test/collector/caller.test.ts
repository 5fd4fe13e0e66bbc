import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Row } from "../../shared/datasets/row.ts";
import { rowsPath } from "../../shared/datasets/rows.ts";
import { callerOf } from "../../shared/events/caller.ts";
import { sha256 } from "../../shared/events/conversation.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { forgetRows } from "../../services/collector/forget/forget.ts";
import { openStore } from "../../services/collector/store/store.ts";
import { newFolder } from "./support.ts";

test("rows of somebody who was named in two fields are found by both names, and by one where it stood in both", async () => {
  const folder = await newFolder();
  const apiKey = "key-of-the-gateway";
  const keyHash = sha256(apiKey);
  const rowOf = (number: number, ...endUser: (string | null)[]): Row => ({ version: 1, id: sha256(`${number}`).slice(0, 32), conversation: `c${number}`, domain: "legal", language: "en", messages: [{ role: "user", content: `question ${number}` }, { role: "assistant", content: "answer" }], split: "train", cluster: sha256(`${number}`).slice(0, 32), source: "upstream", model: "m", generation: null, caller: callerOf(keyHash, ...endUser), createdAt: 1, collectedAt: 1, anonymised: {} });
  const rows = [rowOf(0, "alice", "8c1f"), rowOf(1, "alice", null), rowOf(2, null, "8c1f"), rowOf(3, "alice", "alice"), rowOf(4, "bob", "8c1f"), rowOf(5, "alice", "77aa")];
  try {
    const paths = { trainingData: join(folder.path, "training_data"), runs: join(folder.path, "runs"), loras: join(folder.path, "loras") };
    await mkdir(join(paths.trainingData, "legal"), { recursive: true });
    await writeFile(rowsPath(paths.trainingData, "legal"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const store = await openStore(paths.trainingData, ["legal"], silentLogger);
    const count = async (caller: string | string[]) => (await forgetRows({ paths, store, selector: { caller }, dryRun: true, now: 2, apiKey })).rows;
    assert.equal(await count("alice"), 2);
    assert.equal(await count(["alice", "8c1f"]), 4);
    assert.equal(await count(["8c1f", "bob"]), 2);
    assert.equal(await count("carol"), 0);
    store.close();
  } finally {
    await folder.remove();
  }
});
