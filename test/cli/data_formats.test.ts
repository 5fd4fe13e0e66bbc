/** import, validate and export with every format, as a user runs them: what goes in comes out again, and everything that is wrong is named. */
import assert from "node:assert/strict";
import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import { projectRoot } from "../../shared/config/settings.ts";
import { allRows } from "../collector/support.ts";
import { importJson, lawPair, newData, run } from "./data_support.ts";

const golden = (folder: string, name: string) => join(projectRoot, "test", "golden", folder, name);
const [first, second, third] = [lawPair(1), lawPair(2), lawPair(3)];
const said = (rows: Awaited<ReturnType<typeof allRows>>) => rows.map(({ messages }) => messages.map(({ role, content }) => [role, typeof content === "string" ? content : (content ?? []).map((part) => part["text"]).join("")]));

test("import takes each text format, found out by itself, and the same conversation of another format is known already", async (t) => {
  const data = await newData(t);
  const files: Readonly<Record<string, string | Buffer>> = {
    "chat.jsonl": `${[first, second, third].map(([user, assistant]) => JSON.stringify({ messages: [{ role: "user", content: user }, { role: "assistant", content: assistant }] })).join("\n")}\n`,
    "alpaca.json": JSON.stringify([first, second].map(([instruction, output]) => ({ instruction, input: "", output })), null, 2),
    "sharegpt.json": JSON.stringify([first].map(([human, gpt]) => ({ id: "1", conversations: [{ from: "human", value: human }, { from: "gpt", value: gpt }] }))),
    "semicolon.csv": Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(`Pergunta;Resposta\r\n${[first, second].map((pair) => pair.map((text) => `"${text}"`).join(";")).join("\r\n")}\r\n`)]),
    "utf16.tsv": Buffer.from(`\ufeffquestion\tanswer\n${first.join("\t")}\n`, "utf16le"),
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(data, name), content);
  const { code, files: reports } = await importJson(data, Object.keys(files).map((name) => join(data, name)));
  assert.equal(code, 0);
  assert.deepEqual(reports.map(({ format, records, faults, outcome }) => [format, records, faults, outcome.rows, outcome.known]), [["chat", 3, 0, 3, 0], ["alpaca", 2, 0, 0, 2], ["sharegpt", 1, 0, 0, 1], ["csv", 2, 0, 0, 2], ["csv", 1, 0, 0, 1]]);
  assert.deepEqual(said(await allRows(data)), [first, second, third].map(([user, assistant]) => [["user", user], ["assistant", assistant]]));
});

test("import takes workbooks of Excel and Parquet files that other programs wrote", async (t) => {
  const data = await newData(t);
  const { code, stderr, files } = await importJson(data, [golden("files", "openpyxl.xlsx"), golden("tables", "merged.xlsx"), golden("files", "messages.parquet"), "--domain", "legal", "--dry-run"]);
  assert.deepEqual(files.map(({ format, records, faults }) => [format, records, faults]), [["xlsx", 4, 2], ["xlsx", 6, 0], ["parquet", 2, 0]]);
  assert.equal(code, 1, "two records of the first could not be read");
  assert.match(stderr, /openpyxl\.xlsx: record 4, column 2 \(Perguntas\): a formula that was never computed/);
  assert.match(stderr, /openpyxl\.xlsx: record 5 \(Perguntas\): Resposta: the answer is empty/);
  await assert.rejects(access(join(data, "training_data", "legal")), "a dry run writes nothing");
});

test("PubMedQA's entries go in with their MeSH terms, and come out with their delimiters", async (t) => {
  const data = await newData(t);
  const member = (question: string, answer: string) => ({ QUESTION: question, CONTEXTS: ["We asked the landlords.", "Most of them agreed."], LABELS: ["METHODS", "RESULTS"], MESHES: ["Housing", "Humans"], YEAR: "2011", final_decision: "yes", LONG_ANSWER: answer });
  await writeFile(join(data, "ori_pqal.json"), JSON.stringify({ 9488747: member(...first), 16418930: member(...second), 21645374: { ...member(...third), LONG_ANSWER: "" } }));
  const report = await importJson(data, [join(data, "ori_pqal.json"), "--domain", "medical"]);
  assert.deepEqual([report.code, report.files[0]?.format, report.files[0]?.records, report.files[0]?.faults, report.files[0]?.outcome.rows], [1, "pubmedqa", 3, 1, 2]);
  assert.match(report.stderr, /ori_pqal\.json:1:\d+ \(21645374\): LONG_ANSWER/);
  const { stdout } = await run(data, ["export", "--domain", "medical", "--format", "delimited"]);
  assert.equal(stdout, `${[first, second].map(([question, answer]) => `[|Contexto|]METHODS: We asked the landlords.\nRESULTS: Most of them agreed.\nMeSH: Housing; Humans[|eContexto|]\n[|Pergunta|]${question}\n[|Resposta|]Yes. ${answer}`).join("\n\n")}\n`);
});

test("PubMedQA itself: nearly all entries become rows", async (t) => {
  const file = join(projectRoot, "..", "shared", "data", "pubmedqa", "ori_pqal.json");
  if (!(await access(file).then(() => true, () => false))) {
    t.skip("PubMedQA's ori_pqal.json is not here");
    return;
  }
  const data = await newData(t);
  const { files } = await importJson(data, [file, "--domain", "medical"]);
  const [{ records, faults, outcome } = { records: 0, faults: 0, outcome: { rows: 0 } }] = files;
  assert.equal(faults, 0);
  assert.ok(outcome.rows >= 0.99 * records && records > 0, `${outcome.rows} of ${records}`);
  const { stdout } = await run(data, ["export", "--domain", "medical", "--format", "delimited"]);
  assert.equal(stdout.match(/\nMeSH: .*\[\|eContexto\|\]\n\[\|Pergunta\|\].+\n\[\|Resposta\|\]/g)?.length, outcome.rows);
});

test("export gives chats, tools and Alpaca's fields back as they went in, and an export is imported as what it was", async (t) => {
  const data = await newData(t);
  const tools = [{ type: "function", function: { name: "find_clause", parameters: { type: "object", properties: {} } } }];
  const call = { role: "assistant", content: null, tool_calls: [{ id: "call_1", type: "function", function: { name: "find_clause", arguments: '{"number":7}' } }] };
  const chats = [
    { messages: [{ role: "system", content: "You are a lawyer's clerk." }, { role: "user", content: first[0] }, { role: "assistant", content: first[1] }, { role: "user", content: second[0] }, { role: "assistant", content: second[1] }] },
    { messages: [{ role: "user", content: third[0] }, call, { role: "tool", tool_call_id: "call_1", content: "The lease clause says so." }, { role: "assistant", content: third[1] }], tools },
    { messages: [{ role: "user", content: lawPair(4)[0] }, { role: "assistant", content: "=HYPERLINK(\"x\") is a formula, and here only a text about a lease contract that a lawyer wrote for the tenant." }] },
  ];
  const file = join(data, "in.jsonl");
  await writeFile(file, chats.map((chat) => JSON.stringify(chat)).join("\n"));
  const { files } = await importJson(data, [file, "--domain", "legal"]);
  assert.deepEqual(files[0]?.outcome.reasons, {});
  const out = join(data, "out.jsonl");
  const exported = await run(data, ["export", "--domain", "legal", "--out", out, "--json"]);
  assert.deepEqual(JSON.parse(exported.stdout), { domain: "legal", format: "chat", file: out, rows: 3, skipped: 0 });
  assert.deepEqual((await readFile(out, "utf8")).trim().split("\n").map((line) => JSON.parse(line) as unknown), chats);

  const alpaca = join(data, "out.json");
  const skipped = await run(data, ["export", "--domain", "legal", "--format", "alpaca", "--out", alpaca]);
  assert.match(skipped.stdout, /2 rows of legal; 1 with tool calls left out, which this format can't say/);
  assert.deepEqual(z.array(z.record(z.string(), z.unknown())).parse(JSON.parse(await readFile(alpaca, "utf8")))[0], { instruction: second[0], input: "", output: second[1], system: "You are a lawyer's clerk.", history: [first] });

  const other = await newData(t);
  assert.deepEqual((await importJson(other, [out, "--domain", "legal"])).files.map(({ format, outcome }) => [format, outcome.rows]), [["chat", 3]]);
  assert.deepEqual((await importJson(other, [alpaca, "--domain", "legal"])).files.map(({ format, faults, outcome }) => [format, faults, outcome.known]), [["alpaca", 0, 2]]);
  const again = await run(other, ["export", "--domain", "legal"]);
  assert.equal(again.stdout, await readFile(out, "utf8"), "exported, imported and exported once more it is the same file");
  assert.match((await run(data, ["export", "--domain", "nowhere"])).stderr, /no domain "nowhere"[^]*Use one of: technical, /);
  const nowhere = await run(data, ["export", "--domain", "legal", "--out", join(out, "below", "a file")]);
  assert.deepEqual([nowhere.code, /^everlora: ENOTDIR: .*below.*\n {2}Name another place.*\n$/.test(nowhere.stderr)], [1, true], nowhere.stderr);
});

test("validate names everything that is wrong in all files at once, by line and column, record or key", async (t) => {
  const data = await newData(t);
  const good = JSON.stringify({ messages: [{ role: "user", content: `É só uma ação: ${first[0]}` }, { role: "assistant", content: first[1] }] });
  const files: Readonly<Record<string, string | Buffer>> = {
    "a.jsonl": Buffer.concat([Buffer.from(`${good}\n{"messages": []}\n{"messages": 1, "messages": 2}\n{oops\n`), Buffer.from('{"messages": "A\xe7\xe3o"}\n', "latin1"), Buffer.from(`${good}\n`)]),
    "b.csv": "question,answer\nA?,\nonly one cell\nB?,C.\n",
    "c.csv": "frage,antwort\n1,2\n",
    "d.csv": "question,answer,question\n1,2,3\n",
    "e.json": JSON.stringify([{ conversations: [{ from: "alien", value: "x" }] }, { conversations: [] }]),
    "f.xlsx": "PK\x03\x04 this is no workbook",
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(data, name), content);
  const paths = [...Object.keys(files).map((name) => join(data, name)), golden("tables", "formulas.xlsx")];
  const { code, stdout } = await run(data, ["validate", ...paths]);
  assert.equal(code, 1);
  const lines = stdout.trim().split("\n").filter((line) => !line.includes(" records, "));
  const placed = lines.map((line) => line.replace(/^\S+\//, ""));
  for (const [at, expected] of [
    /^a\.jsonl:2:14: messages: /,
    /^a\.jsonl:3:17: not JSON: this key stands twice/,
    /^a\.jsonl:4:2: not JSON: a key in double quotes/,
    /^a\.jsonl:5:16: bytes that are not of the file's encoding/,
    /^b\.csv:2:1: answer: the answer is empty/,
    /^b\.csv:3:1: 1 cells where the header has 2/,
    /^c\.csv:1:1: no column for the question and the answer; the columns are "frage", "antwort"/,
    /^d\.csv:1:1: the column "question" stands twice/,
    /^e\.json:1:\d+: conversations\.0\.from: is none of/,
    /^e\.json:1:\d+: conversations: /,
    /^f\.xlsx: record 1: not an Excel workbook/,
    /^formulas\.xlsx: record 8, column 2 \(Q&A\): the cell holds the error #N\/A/,
  ].entries()) assert.match(placed[at] ?? "", expected);
  assert.equal(placed.length, 15);
  assert.match(stdout, /a\.jsonl \(chat\): 6 records, 4 with faults/);
  await assert.rejects(access(join(data, "training_data")), "nothing is written");
  const json = z.object({ files: z.array(z.unknown()), faults: z.array(z.object({ at: z.record(z.string(), z.unknown()) })) }).parse(JSON.parse((await run(data, ["validate", ...paths, "--json"])).stdout));
  assert.deepEqual([json.files.length, json.faults.length, json.faults[1]?.at], [7, 15, { line: 3, column: 17 }]);
  const clean = await run(data, ["validate", golden("tables", "merged.xlsx")]);
  assert.deepEqual([clean.code, clean.stdout.trim().split(": ")[1]], [0, "6 records, nothing is wrong"]);
});
