import assert from "node:assert/strict";
import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Row } from "../../shared/datasets/row.ts";
import { appendRows, loadRows, readRows, rowsPath, type RowFault } from "../../shared/datasets/rows.ts";
import { splitOf } from "../../shared/datasets/split.ts";
import { datasetStats, isEnough } from "../../shared/datasets/stats.ts";
import { windowOf } from "../../shared/datasets/window.ts";

const now = Date.UTC(2026, 10, 20);
const day = 86_400_000;
const rowOf = (number: number, change: Partial<Row> = {}): Row => ({
  version: 1,
  id: number.toString(16).padStart(32, "0"),
  conversation: `conversation-${number}`,
  domain: "legal",
  language: "pt",
  messages: [
    { role: "user", content: `pergunta ${number} \u2028 linha` },
    { role: "assistant", content: "resposta\ncom linha" },
  ],
  split: number % 3 === 0 ? "held-out" : "train",
  cluster: `c${number}`,
  source: "import",
  model: "teacher",
  generation: null,
  caller: "",
  createdAt: now - number * day,
  collectedAt: now,
  anonymised: {},
  ...change,
});

describe("rows.jsonl", () => {
  let folder: string;
  let data: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "everlora-rows-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));
  const fresh = async () => {
    data = await mkdtemp(join(folder, "data-"));
    return data;
  };
  const readAll = async () => {
    const faults: RowFault[] = [];
    const rows: Row[] = [];
    for await (const row of readRows(rowsPath(data, "legal"), (fault) => faults.push(fault))) rows.push(row);
    return { rows, faults };
  };

  it("gives back what was appended, also with U+2028 inside a string", async () => {
    await fresh();
    const rows = [rowOf(1), rowOf(2)];
    await appendRows(data, "legal", rows);
    await appendRows(data, "legal", [rowOf(3)]);
    assert.deepEqual(await readAll(), { rows: [...rows, rowOf(3)], faults: [] });
  });

  it("has no rows where there is no file", async () => {
    await fresh();
    assert.deepEqual(await loadRows(data, "legal", windowOf(30, now)), []);
  });

  it("tolerates a torn last line and goes on after it", async () => {
    await fresh();
    await appendRows(data, "legal", [rowOf(1)]);
    const torn = JSON.stringify(rowOf(2)).slice(0, 50);
    await appendFile(rowsPath(data, "legal"), torn);
    assert.deepEqual((await readAll()).faults.map(({ line, torn }) => ({ line, torn })), [{ line: 2, torn: true }]);
    await appendRows(data, "legal", [rowOf(3)]);
    const after = await readAll();
    assert.deepEqual(after.rows.map((row) => row.conversation), ["conversation-1", "conversation-3"]);
    assert.deepEqual(after.faults.map(({ line, torn }) => ({ line, torn })), [{ line: 2, torn: false }]);
  });

  it("names the line numbers of bad lines, without quoting them", async () => {
    await fresh();
    await mkdir(join(data, "legal"));
    const secret = "529.982.247-25";
    const lines = [JSON.stringify(rowOf(1)), `{"cpf": "${secret}"`, "", JSON.stringify({ ...rowOf(2), split: "both" }), JSON.stringify(rowOf(3)), "null"];
    await writeFile(rowsPath(data, "legal"), Buffer.concat([Buffer.from(`${lines.join("\n")}\n`), Buffer.from([0x22, 0xff, 0x22, 0x0a])]));
    const { rows, faults } = await readAll();
    assert.deepEqual(rows.map((row) => row.conversation), ["conversation-1", "conversation-3"]);
    assert.deepEqual(faults.map((fault) => fault.line), [2, 4, 6, 7]);
    assert.match(faults[1]?.reason ?? "", /split/);
    assert.ok(!JSON.stringify(faults).includes(secret));
  });

  it("loads the window, each id once", async () => {
    await fresh();
    await appendRows(data, "legal", [rowOf(29), rowOf(31), rowOf(1), rowOf(1, { conversation: "again" }), rowOf(-1), rowOf(2, { domain: "medical" })]);
    const rows = await loadRows(data, "legal", windowOf(30, now));
    assert.deepEqual(rows.map((row) => row.conversation), ["conversation-29", "again"]);
  });

  it("counts what it would load", async () => {
    await fresh();
    await appendRows(data, "legal", [rowOf(1), rowOf(2, { language: "en" }), rowOf(3), rowOf(6), rowOf(40)]);
    await appendFile(rowsPath(data, "legal"), "{");
    const stats = await datasetStats(data, "legal", windowOf(30, now));
    assert.deepEqual({ ...stats, faults: stats.faults.map((fault) => fault.line) }, { domain: "legal", rows: 4, train: 2, heldOut: 2, outside: 1, byLanguage: { pt: 3, en: 1, unknown: 0 }, faults: [6] });
    assert.equal(isEnough(stats, 4), true);
    assert.equal(isEnough(stats, 5), false);
    assert.equal(isEnough({ rows: 9, train: 8, heldOut: 1 }, 5), false);
    assert.equal((await readFile(rowsPath(data, "legal"), "utf8")).endsWith("{"), true, "a reader repairs nothing");
  });
});

describe("the split", () => {
  it("depends on the cluster alone and keeps the share", () => {
    const clusters = Array.from({ length: 20_000 }, (_, number) => `cluster ${number}`);
    const heldOut = clusters.filter((cluster) => splitOf(cluster, 0.15) === "held-out");
    assert.ok(Math.abs(heldOut.length / clusters.length - 0.15) < 0.01, String(heldOut.length));
    // A larger share only adds: no row goes back to the training side.
    assert.ok(heldOut.every((cluster) => splitOf(cluster, 0.3) === "held-out"));
    assert.equal(splitOf("x", 0.15), splitOf("x", 0.15));
  });
});
