/** Files of conversations: what other programs wrote or what their published layouts say, and every kind of damage with its place. */
import assert from "node:assert/strict";
import { createWriteStream } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { crc32 } from "node:zlib";
import { deflateRawSync } from "node:zlib";
import { projectRoot } from "../../shared/config/settings.ts";
import { textOf } from "../../shared/events/conversation.ts";
import { shortRecords } from "../../services/collector/formats/csv_records.ts";
import { formatNamed, formatOf } from "../../services/collector/formats/formats.ts";
import { conversationOf, type Draft, type Item } from "../../services/collector/formats/format.ts";
import { checkJson, offsetOf } from "../../services/collector/formats/json_text.ts";
import { readValues } from "../../services/collector/formats/json_values.ts";
import { conversationSchema } from "../../shared/events/conversation.ts";

let folder = "";
before(async () => void (folder = await mkdtemp(join(tmpdir(), "everlora-formats-"))));
after(() => rm(folder, { recursive: true, force: true }));

async function read(name: string, content: string | Uint8Array, format?: string): Promise<Item[]> {
  const path = join(folder, name);
  await writeFile(path, content);
  return readPath(path, format);
}

async function readPath(path: string, format?: string): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of (format === undefined ? await formatOf(path) : formatNamed(format)).read(path, {})) items.push(item);
  for (const item of items) if ("draft" in item) conversationSchema.parse(conversationOf(item.draft, "test", 0));
  return items;
}

const draftsOf = (items: readonly Item[]): Draft[] => items.flatMap((item) => ("draft" in item ? [item.draft] : []));
const faultsOf = (items: readonly Item[]) => items.flatMap((item) => ("fault" in item ? [`${item.at.line ?? `#${item.at.record}`}:${item.at.column ?? ""} ${item.fault}`] : []));
const told = ({ messages, answer }: Draft) => [...messages, answer].map((message) => `${message.role}: ${textOf(message)}`);
const golden = (name: string) => join(projectRoot, "test", "golden", "files", name);

describe("chat lines", () => {
  // https://platform.openai.com/docs/guides/supervised-fine-tuning and .../fine-tuning/fine-tuning-examples: the three examples, byte for byte.
  const plain = '{"messages": [{"role": "system", "content": "Marv is a factual chatbot that is also sarcastic."}, {"role": "user", "content": "What\'s the capital of France?"}, {"role": "assistant", "content": "Paris, as if everyone doesn\'t know that already."}]}';
  const weighted = '{"messages": [{"role": "system", "content": "Marv is a factual chatbot that is also sarcastic."}, {"role": "user", "content": "What\'s the capital of France?"}, {"role": "assistant", "content": "Paris", "weight": 0}, {"role": "user", "content": "Can you be more sarcastic?"}, {"role": "assistant", "content": "Paris, as if everyone doesn\'t know that already.", "weight": 1}]}';
  const tools = '{"messages":[{"role":"user","content":"What is the weather in San Francisco?"},{"role":"assistant","tool_calls":[{"id":"call_id","type":"function","function":{"name":"get_current_weather","arguments":"{\\"location\\": \\"San Francisco, USA\\", \\"format\\": \\"celsius\\"}"}}]}],"parallel_tool_calls":false,"tools":[{"type":"function","function":{"name":"get_current_weather","description":"Get the current weather","parameters":{"type":"object","properties":{"location":{"type":"string"}},"required":["location"]}}}]}';

  it("keeps roles, weights, tools and calls", async () => {
    const items = await read("openai.jsonl", [plain, weighted, tools].join("\n"));
    assert.deepEqual(faultsOf(items), []);
    const [first, second, third] = draftsOf(items);
    assert.deepEqual(first && told(first), ["system: Marv is a factual chatbot that is also sarcastic.", "user: What's the capital of France?", "assistant: Paris, as if everyone doesn't know that already."]);
    assert.deepEqual(second?.messages.map(({ weight }) => weight), [undefined, undefined, 0, undefined]);
    assert.deepEqual(second.answer, { role: "assistant", content: "Paris, as if everyone doesn't know that already.", weight: 1 });
    assert.equal((third?.answer.tool_calls?.[0]?.["function"] as { name: string }).name, "get_current_weather");
    assert.equal(third?.tools?.length, 1);
  });

  it("takes the older functions, an array, and a byte order mark", async () => {
    const old = '{"messages":[{"role":"user","content":"Weather?"},{"role":"assistant","content":null,"function_call":{"name":"w","arguments":"{}"}}],"functions":[{"name":"w","parameters":{}}]}';
    const [draft] = draftsOf(await read("old.json", `\ufeff[\n ${old},\n ${plain}\n]\n`));
    assert.deepEqual(draft?.answer.tool_calls, [{ id: "call_1", type: "function", function: { name: "w", arguments: "{}" } }]);
    assert.deepEqual(draft.tools, [{ type: "function", function: { name: "w", parameters: {} } }]);
  });

  it("names what is wrong with line and column, and keeps the rest", async () => {
    const lines = [
      plain,
      '{"messages": [{"role": "user", "content": "x"}, {"role": "robot", "content": "y"}]}',
      '{"messages": [',
      '{"messages": [{"role":"user","content":"x"}], "messages": []}',
      '{"messages": [{"role":"assistant","content":"only me"}]}',
      '{"messages": [{"role":"user","content":"x"},{"role":"assistant","content":""}]}',
      "",
      '{"messages": [{"role":"user","content":"x"},{"role":"assistant","content":"y","weight":2}]}',
      "[]",
      plain,
    ];
    const items = await read("bad.jsonl", lines.join("\r\n"));
    assert.equal(draftsOf(items).length, 2);
    const faults = faultsOf(items);
    assert.deepEqual(faults.map((fault) => fault.split(" ")[0]), ["2:58", "3:15", "4:47", "5:14", "6:75", "8:88", "9:1"]);
    assert.match(faults[0] ?? "", /messages\.1\.role/);
    assert.match(faults[1] ?? "", /not JSON: the JSON ends early/);
    assert.match(faults[2] ?? "", /stands twice/);
    assert.match(faults[3] ?? "", /no user turn/);
  });

  it("names bytes that are no UTF-8, and reads Latin-1 and UTF-16 files", async () => {
    const good = Buffer.from('{"messages":[{"role":"user","content":"Ação é não?"},{"role":"assistant","content":"Sim, ação."}]}\n');
    const items = await read("utf8.jsonl", Buffer.concat([good, good, Buffer.from('{"messages":[{"role":"user","content":"A\xe7\xe3o"}]}\n', "latin1"), good]));
    assert.equal(draftsOf(items).length, 3);
    assert.match(faultsOf(items).join(), /^3:41 bytes that are not of the file's encoding/);
    const text = good.toString();
    for (const [name, bytes] of [["latin1", Buffer.from(text, "latin1")], ["utf16", Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(text, "utf16le")])], ["utf16be", Buffer.from(`\ufeff${text}`, "utf16le").swap16()], ["bare16", Buffer.from(text, "utf16le")]] as const) {
      const [draft] = draftsOf(await read(`${name}.jsonl`, bytes, "chat"));
      assert.deepEqual(draft && told(draft), ["user: Ação é não?", "assistant: Sim, ação."], name);
    }
  });

  it("skips a line of 100 MB without holding it, and reads on", async () => {
    const path = join(folder, "long.jsonl");
    const file = createWriteStream(path);
    file.write(`${plain}\n{"messages": "`);
    for (let part = 0; part < 100; part++) if (!file.write("x".repeat(1 << 20))) await once(file, "drain");
    file.end(`"}\n${plain}\n`);
    await once(file, "close");
    const items = await readPath(path);
    assert.equal(draftsOf(items).length, 2);
    assert.match(faultsOf(items).join(), /^2:1 longer than 16777216 characters/);
  });
});

describe("Alpaca, ShareGPT and PubMedQA", () => {
  it("reads Alpaca as tatsu-lab publishes it", async () => {
    const items = await read("alpaca_data.json", '[\n    {\n        "instruction": "Give three tips for staying healthy.",\n        "input": "",\n        "output": "1. Eat. 2. Sleep. 3. Move."\n    },\n    {\n        "instruction": "Classify.",\n        "input": "A cat",\n        "output": ""\n    },\n    {\n        "instruction": "Identify the odd one out.",\n        "input": "Twitter, Instagram, Telegram",\n        "output": "Telegram"\n    }\n]');
    assert.deepEqual(draftsOf(items).map(told), [["user: Give three tips for staying healthy.", "assistant: 1. Eat. 2. Sleep. 3. Move."], ["user: Identify the odd one out.\n\nTwitter, Instagram, Telegram", "assistant: Telegram"]]);
    assert.deepEqual(faultsOf(items), ["10:19 output: the output is empty"]);
  });

  it("reads ShareGPT with its roles, calls and a conversation that begins in its middle", async () => {
    const items = await read("sharegpt.json", JSON.stringify([
      { id: "a", conversations: [{ from: "gpt", value: "…and that was that." }, { from: "human", value: "Thanks. Next?" }, { from: "gpt", value: "Here." }] },
      { conversations: [{ from: "human", value: "Weather?" }, { from: "function_call", value: '{"name": "w", "arguments": {"at": "Rio"}}' }, { from: "observation", value: "30" }, { from: "gpt", value: "30 degrees." }], tools: '[{"name": "w"}]', system: "Be short." },
      { conversations: [{ from: "alien", value: "x" }] },
    ]));
    const [first, second] = draftsOf(items);
    assert.deepEqual(first && told(first), ["user: Thanks. Next?", "assistant: Here."]);
    assert.deepEqual(second?.messages.map(({ role }) => role), ["system", "user", "assistant", "tool"]);
    assert.deepEqual(second.messages[2]?.tool_calls, [{ id: "call_1", type: "function", function: { name: "w", arguments: '{"at":"Rio"}' } }]);
    assert.match(faultsOf(items).join(), /conversations\.0\.from: is none of/);
  });

  it("reads PubMedQA's members, names a key that stands twice and a member that lacks something", async () => {
    const member = '{"QUESTION": "Does it work?", "CONTEXTS": ["We tried.", "It did."], "LABELS": ["METHODS", "RESULTS"], "MESHES": ["Humans", "Aged"], "YEAR": "2011", "final_decision": "yes", "LONG_ANSWER": "It works well."}';
    const items = await read("ori_pqal.json", `{\n    "21645374": ${member},\n    "21645374": ${member},\n    "7": {"QUESTION": "x"}\n}`);
    const [draft] = draftsOf(items);
    assert.deepEqual(draft?.messages, [{ role: "user", content: [{ type: "text", text: "METHODS: We tried.\nRESULTS: It did.\nMeSH: Humans; Aged\n\n" }, { type: "text", text: "Does it work?" }] }]);
    assert.equal(draft.answer.content, "Yes. It works well.");
    assert.deepEqual(faultsOf(items).map((fault) => fault.split(" ")[0]), ["3:17", "4:10"]);
  });
});

describe("tables", () => {
  it("reads CSV with any delimiter, quotes, line breaks and encodings", async () => {
    const comma = await read("a.csv", 'question,answer,context\n"What, ""really""?","Two\nlines.",\nPlain?,Yes it is.,Some context\n');
    assert.deepEqual(draftsOf(comma).map(told), [['user: What, "really"?', "assistant: Two\nlines."], ["user: Some context\n\nPlain?", "assistant: Yes it is."]]);
    const semicolon = await read("b.csv", Buffer.from("Pergunta;Resposta\r\nQuem é você?;Sou o André, às ordens.\r\n", "latin1"));
    assert.deepEqual(draftsOf(semicolon).map(told), [["user: Quem é você?", "assistant: Sou o André, às ordens."]]);
    const tab = await read("c.tsv", Buffer.from("\ufeffprompt\tcompletion\nA?\tB.\n", "utf16le"));
    assert.deepEqual(draftsOf(tab).map(told), [["user: A?", "assistant: B."]]);
  });

  it("names missing and doubled columns, wrong numbers of cells, and quotes that never close", async () => {
    assert.match(faultsOf(await read("d.csv", "foo,bar\n1,2\n")).join(), /^1:1 no column for the question and the answer; the columns are "foo", "bar"/);
    assert.match(faultsOf(await read("e.csv", "question,answer,answer\n1,2,3\n")).join(), /"answer" stands twice/);
    const items = await read("f.csv", 'question,answer\nA?,B.\nonly one\nC?,D.\n,E.\nF?,G.\n"never closed,H.\nI?,J.\n');
    assert.equal(draftsOf(items).length, 3);
    assert.deepEqual(faultsOf(items).slice(0, 2), ["3:1 1 cells where the header has 2", "5:1 question: the question is empty"]);
    assert.match(faultsOf(items)[2] ?? "", /a quote that was opened is never closed/);
  });

  it("takes records that are too long out of CSV in pieces of any size, and nothing else", async () => {
    const text = 'a,b\n"x ""y"",\n z",1\nlong long long long long,2\n5" pipe,3\n"never ""closed" odd,4\n"",5\n"long\nlong ""long""",6\nend,7';
    for (const size of [1, 2, 3, 7, 1_000]) {
      const long: number[] = [];
      let kept = "";
      for await (const part of shortRecords(pieces(text, size), ",", 20, (line) => long.push(line))) kept += part;
      assert.equal(kept, 'a,b\n"x ""y"",\n z",1\n\n5" pipe,3\n\n"",5\n\n\nend,7', `${size}`);
      assert.deepEqual(long, [4, 6, 8]);
      let all = "";
      for await (const part of shortRecords(pieces(text, size), ",", 1_000, () => assert.fail())) all += part;
      assert.equal(all, text);
    }
  });

  it("reads workbooks of openpyxl and XlsxWriter: values of formulas, errors, rich text, numbers", async () => {
    const first = await readPath(golden("openpyxl.xlsx"));
    assert.deepEqual(draftsOf(first).map(told), [["user: Contrato de aluguel\n\nComo cancelo o contrato?", "assistant: Avise por escrito com trinta dias."], ["user: Qual é o prazo da multa?", "assistant: O prazo é de dez dias, contados do aviso."]]);
    assert.deepEqual(faultsOf(first), ["#4:2 a formula that was never computed; open and save the workbook in Excel", "#5: Resposta: the answer is empty"]);
    const second = await readPath(golden("xlsxwriter.xlsx"));
    assert.deepEqual(draftsOf(second).map(told), [["user: What is 6 times 7?", "assistant: It is 42"], ["user: How many days has a week?", "assistant: 7"], ["user: Is bold text kept?", "assistant: Yes, with _x000D_ and line\nbreaks."]]);
    assert.deepEqual(faultsOf(second), ["#4:2 the cell holds the error #DIV/0!"]);
  });

  it("refuses a zip bomb, a zip that is no workbook, and XML with a document type", async () => {
    const parts = { "xl/workbook.xml": '<workbook xmlns:r="x"><sheets><sheet name="S" r:id="r1"/></sheets></workbook>', "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="r1" Target="worksheets/sheet1.xml"/></Relationships>' };
    const sheet = (rows: string) => `<worksheet><sheetData>${rows}</sheetData></worksheet>`;
    const header = '<row r="1"><c r="A1" t="inlineStr"><is><t>question</t></is></c><c r="B1" t="inlineStr"><is><t>answer</t></is></c></row>';
    const row = '<row r="2"><c r="A2" t="inlineStr"><is><t>Q?</t></is></c><c r="B2" t="inlineStr"><is><t>A.</t></is></c></row>';
    assert.equal(draftsOf(await read("small.xlsx", zipOf({ ...parts, "xl/worksheets/sheet1.xml": sheet(header + row) }))).length, 1, "the test's own zips are good ones");
    assert.match(faultsOf(await read("bomb.xlsx", zipOf({ ...parts, "xl/worksheets/sheet1.xml": sheet(`${header}${row}${" ".repeat(100 * 1024 * 1024)}`) }))).join(), /a zip bomb/);
    assert.match(faultsOf(await read("doctype.xlsx", zipOf({ ...parts, "xl/worksheets/sheet1.xml": `<!DOCTYPE x [<!ENTITY a "b">]>${sheet(header)}` }))).join(), /document type/);
    assert.match(faultsOf(await read("zip.xlsx", zipOf({ "a.txt": "b" }))).join(), /no part xl\/workbook\.xml/);
    assert.match(faultsOf(await read("cut.xlsx", zipOf(parts).subarray(0, 100))).join(), /not an Excel workbook/);
  });

  it("reads Parquet of pyarrow: columns with zstd, messages with snappy; names a damaged one", async () => {
    assert.deepEqual(draftsOf(await readPath(golden("columns.parquet"))).map(told), [["user: Contrato de aluguel\n\nComo cancelo o contrato?", "assistant: Avise por escrito com trinta dias."], ["user: Qual é o prazo da multa?", "assistant: O prazo é de dez dias, contados do aviso."]]);
    assert.deepEqual(draftsOf(await readPath(golden("messages.parquet"))).map(told), [["user: Como cancelo o contrato?", "assistant: Avise por escrito com trinta dias."], ["user: Qual é o prazo da multa?", "assistant: O prazo é de dez dias, contados do aviso."]]);
    assert.match(faultsOf(await read("damaged.parquet", "PAR1 nothing that follows is Parquet")).join(), /not a Parquet file/);
  });

  it("says which formats there are when it recognises none", async () => {
    await assert.rejects(read("x.bin", "\x00\x01\x02"), /none of the formats pubmedqa, chat, sharegpt, alpaca, xlsx, parquet, csv is recognised/);
    await assert.rejects(formatOf(join(folder, "missing.json")), /ENOENT/);
  });
});

describe("JSON as text", () => {
  it("agrees with JSON.parse about what is JSON", () => {
    const good = ["{}", "[]", ' {"a":[1,-0.5e+3,"\\u00e9\\n",true,false,null,{}]} ', '"x"', "0", "\"\ud800\""];
    const bad = ["", "{", "[1,]", '{"a":}', "01", "+1", ".5", "1.", "'x'", '{"a" 1}', "tru", '"\\x"', '"\n"', "[1 2]", "{} {}", '{a:1}', '"\\u12g4"', "\u00a0{}"];
    for (const text of good) assert.equal(checkJson(text), null, text);
    for (const text of bad) {
      assert.throws(() => void JSON.parse(text), text);
      assert.notEqual(checkJson(text), null, text);
    }
    assert.deepEqual(checkJson('{"a":1,"\\u0061":2}'), { offset: 7, message: "this key stands twice in one object" });
    assert.notEqual(checkJson("[".repeat(100_000)), null, "and does not overflow");
    assert.equal(offsetOf('{"x":[{"a":1},{"a":22}]}', ["x", 1, "a"]), 19);
  });

  it("takes a document apart in pieces of any size", async () => {
    const document = '[ {"a":"x,]\\"{é", "b":[1,2]},\n  {"c":{"d":"\\\\"}} ,\n\n 3 ]';
    const values = async (size: number) => {
      const found = [];
      for await (const value of readValues(pieces(document, size), "elements")) found.push(value);
      return found;
    };
    const whole = await values(1_000);
    assert.deepEqual(whole.map(({ text }) => JSON.parse(text ?? "") as unknown), JSON.parse(document));
    assert.deepEqual(whole.map(({ line, column }) => [line, column]), [[1, 3], [2, 3], [4, 2]]);
    for (const size of [1, 2, 3, 5, 8]) assert.deepEqual(await values(size), whole);
  });
});

async function* pieces(text: string, size: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += size) yield await Promise.resolve(text.slice(at, at + size));
}

/** A zip archive (PKWARE APPNOTE 6.3): local headers, central directory, end. */
function zipOf(parts: Readonly<Record<string, string>>): Buffer {
  const locals: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(parts)) {
    const data = Buffer.from(text);
    const packed = deflateRawSync(data);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(8, 4);
    common.writeUInt32LE(crc32(data), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04"), common, Buffer.from(name), packed]);
    const entry = Buffer.alloc(14);
    entry.writeUInt32LE(offset, 10);
    central.push(Buffer.concat([Buffer.from("PK\x01\x02\x14\x00"), common, entry, Buffer.from(name)]));
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(central.length, 4);
  end.writeUInt16LE(central.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, directory, Buffer.from("PK\x05\x06"), end]);
}
