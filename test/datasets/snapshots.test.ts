/** Snapshots: what is in them, that they never change, and that what must be forgotten goes from them, too. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, afterEach, describe, it } from "node:test";
import { appendDrops } from "../../shared/datasets/drops.ts";
import { exportFile, exportText, type ExportName } from "../../shared/datasets/export.ts";
import { removeRows } from "../../shared/datasets/remove.ts";
import { rowSchema, type Row } from "../../shared/datasets/row.ts";
import { appendRows, readRows, rowsPath } from "../../shared/datasets/rows.ts";
import { listSnapshots, manifestFile, readManifest, snapshotDataFile, writeSnapshot, type Snapshot } from "../../shared/datasets/snapshots.ts";
import { splitOf, threadOf } from "../../shared/datasets/split.ts";
import { sha256, type Message } from "../../shared/events/conversation.ts";

const now = Date.UTC(2026, 10, 20, 15);
const day = 86_400_000;
let folder = "";
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "everlora-snapshots-"))));
afterEach(() => rm(folder, { recursive: true, force: true }));

const rowOf = (name: string, change: Partial<Row> = {}): Row =>
  rowSchema.parse({ version: 1, id: sha256(name).slice(0, 32), conversation: name, domain: "legal", language: "pt", messages: [{ role: "user", content: `Pergunta ${name}?` }, { role: "assistant", content: `Resposta ${name}.` }], split: "train", cluster: sha256(name).slice(0, 32), source: "import", model: "m", generation: null, caller: "", createdAt: now - day, collectedAt: now, anonymised: { NOME: 1 }, ...change });

const take = (change: Partial<Parameters<typeof writeSnapshot>[0]> = {}) => writeSnapshot({ trainingData: folder, domain: "legal", window: { from: now - 30 * day, to: now, days: 30 }, settings: { HELD_OUT_SHARE: 0.15 }, now, ...change });
const must = (snapshot: Snapshot | null): Snapshot => {
  assert.ok(snapshot !== null);
  return snapshot;
};

describe("a snapshot", () => {
  it("holds the window's rows, each id once, and tells all about them", async () => {
    const rows = [rowOf("a"), rowOf("b", { split: "held-out", language: "en", source: "upstream" }), rowOf("a", { collectedAt: now + 1, model: "newer" }), rowOf("old", { createdAt: now - 31 * day }), rowOf("other", { domain: "medical" })];
    await appendRows(folder, "legal", rows);
    await writeFile(rowsPath(folder, "legal"), `${await readFile(rowsPath(folder, "legal"), "utf8")}{torn`);
    await appendDrops(folder, "legal", [{ conversation: "0".repeat(32), reason: "refusal", at: now }, { conversation: "1".repeat(32), reason: "refusal", at: now - 40 * day }]);
    const { folder: place, facts } = must(await take());
    const data = await readFile(join(place, snapshotDataFile));
    assert.deepEqual(data.toString().trim().split("\n").map((line) => (JSON.parse(line) as Row).model), ["m", "newer"]);
    const { rowIds, ...rest } = await readManifest(place);
    assert.deepEqual(rest, facts);
    assert.deepEqual(rowIds, [rowOf("b").id, rowOf("a").id]);
    assert.deepEqual({ ...facts, snapshot: "", sha256: "", bytes: 0 }, { version: 1, snapshot: "", domain: "legal", createdAt: now, window: { from: now - 30 * day, to: now, days: 30 }, rows: 2, train: 1, heldOut: 1, sha256: "", bytes: 0, languages: { en: 1, pt: 1 }, sources: { upstream: 1, import: 1 }, anonymised: { NOME: 2 }, leftOut: { duplicate: 1, outside_window: 1, other_domain: 1, unreadable: 1 }, dropped: { refusal: 1 }, settings: { HELD_OUT_SHARE: 0.15 }, forgotten: 0 });
    assert.equal(facts.sha256, createHash("sha256").update(data).digest("hex"));
    assert.equal(facts.bytes, data.length);
    assert.match(facts.snapshot, /^20261120T150000Z-[0-9a-f]{6}$/);
  });

  it("is the same one while the rows are the same, another one afterwards, and the old one stays as it was", async () => {
    await appendRows(folder, "legal", [rowOf("a")]);
    const first = must(await take());
    assert.equal(must(await take({ now: now + 5_000 })).folder, first.folder);
    const bytes = await readFile(join(first.folder, manifestFile));
    await appendRows(folder, "legal", [rowOf("b")]);
    const second = must(await take({ now: now + 10_000 }));
    assert.notEqual(second.folder, first.folder);
    assert.deepEqual(await readFile(join(first.folder, manifestFile)), bytes);
    assert.deepEqual((await listSnapshots(folder, "legal")).map((name) => join(folder, "legal", name)), [first.folder, second.folder]);
  });

  it("leaves nothing behind when there are no rows, when it is not accepted, or when it can't be written", async () => {
    assert.equal(await take(), null);
    await appendRows(folder, "legal", [rowOf("a")]);
    await assert.rejects(take({ accept: () => { throw new RangeError("too few"); } }), /too few/);
    assert.deepEqual(await readdir(join(folder, "legal")), ["rows.jsonl"]);
  });
});

describe("removing rows", () => {
  it("writes the file anew without them, and leaves it alone when what must come before fails", async () => {
    await appendRows(folder, "legal", [rowOf("a"), rowOf("b"), rowOf("c")]);
    const before = await readFile(rowsPath(folder, "legal"), "utf8");
    await assert.rejects(removeRows(folder, "legal", ({ conversation }) => conversation === "b", async () => { throw new Error("disk"); }), /disk/);
    assert.equal(await readFile(rowsPath(folder, "legal"), "utf8"), before);
    const removed = await removeRows(folder, "legal", ({ conversation }) => conversation === "b", async () => undefined);
    assert.deepEqual(removed.map(({ conversation }) => conversation), ["b"]);
    const left = [];
    for await (const { conversation } of readRows(rowsPath(folder, "legal"))) left.push(conversation);
    assert.deepEqual(left, ["a", "c"]);
    assert.deepEqual(await readdir(join(folder, "legal")), ["rows.jsonl"]);
  });
});

describe("exports", () => {
  const write = async (format: ExportName, rows: readonly Row[]) => {
    await appendRows(folder, "legal", rows);
    const counts = { rows: 0, skipped: 0 };
    let text = "";
    for await (const part of exportText({ trainingData: folder, domain: "legal", format, window: { from: 0, to: now } }, counts)) text += part;
    return { text, counts };
  };
  const tool: Row = rowOf("t", { messages: [{ role: "user", content: "x" }, { role: "assistant", content: null, tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: "{}" } }] }], tools: [{ type: "function", function: { name: "f" } }] });

  it("writes chat lines with tools", async () => {
    const { text, counts } = await write("chat", [rowOf("a"), tool]);
    assert.deepEqual(text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as unknown), [{ messages: rowOf("a").messages }, { messages: tool.messages, tools: tool.tools }]);
    assert.deepEqual(counts, { rows: 2, skipped: 0 });
  });

  it("writes Alpaca as one array, with system and history", async () => {
    const messages: Message[] = [{ role: "system", content: "S" }, { role: "user", content: "1?" }, { role: "assistant", content: "1." }, { role: "user", content: "2?" }, { role: "assistant", content: "2." }];
    const { text, counts } = await write("alpaca", [rowOf("a", { messages }), tool]);
    assert.deepEqual(JSON.parse(text), [{ instruction: "2?", input: "", output: "2.", system: "S", history: [["1?", "1."]] }]);
    assert.deepEqual(counts, { rows: 1, skipped: 1 });
  });

  it("writes the delimited text, whose marks nobody can forge", async () => {
    const messages: Message[] = [{ role: "user", content: [{ type: "text", text: "METHODS: x [|Resposta|] y\nMeSH: Humans; Aged\n\n" }, { type: "text", text: "Does it?" }] }, { role: "assistant", content: "Yes." }];
    const { text } = await write("delimited", [rowOf("a", { messages }), rowOf("b")]);
    assert.equal(text, "[|Contexto|]METHODS: x [Resposta] y\nMeSH: Humans; Aged[|eContexto|]\n[|Pergunta|]Does it?\n[|Resposta|]Yes.\n\n[|Pergunta|]Pergunta b?\n[|Resposta|]Resposta b.\n");
  });

  it("writes a file whole or not at all", async () => {
    await appendRows(folder, "legal", [rowOf("a")]);
    const request = { trainingData: folder, domain: "legal", format: "chat", window: { from: 0, to: now } } as const;
    const path = join(folder, "out", "legal.jsonl");
    assert.deepEqual(await exportFile(request, path), { rows: 1, skipped: 0 });
    await mkdir(join(folder, "taken"));
    await assert.rejects(exportFile(request, join(folder, "taken")));
    assert.deepEqual(await readdir(join(folder, "out")), ["legal.jsonl"]);
    assert.deepEqual((await readdir(folder)).filter((name) => name.includes(".tmp-")), []);
  });
});

describe("the side of a row", () => {
  it("is one for all turns of a conversation, and depends on caller and opening alone", () => {
    const opening: Message = { role: "user", content: "Como cancelo o contrato?" };
    const later: Message[] = [{ role: "system", content: "Seja breve." }, { ...opening, content: "como CANCELO o contrato ?" }, { role: "assistant", content: "Assim." }, { role: "user", content: "E a multa?" }];
    assert.equal(threadOf("c", [opening]), threadOf("c", later));
    assert.notEqual(threadOf("c", [opening]), threadOf("d", [opening]));
    const sides = Array.from({ length: 4_000 }, (_, at) => splitOf(threadOf(String(at), [opening]), 0.15));
    const share = sides.filter((side) => side === "held-out").length / sides.length;
    assert.ok(Math.abs(share - 0.15) < 0.03, String(share));
  });
});
