/** Workbooks, CSV and Parquet files of other programs (test/golden/tables, with what those programs put in as told.json), and workbooks that attack. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { z } from "zod";
import { projectRoot } from "../../shared/config/settings.ts";
import { textOf } from "../../shared/events/conversation.ts";
import { conversationOf, type Draft, type Item } from "../../services/collector/formats/format.ts";
import { formatOf } from "../../services/collector/formats/formats.ts";
import { numberKind, numberText } from "../../services/collector/formats/xlsx_styles.ts";

const folder = join(projectRoot, "test", "golden", "tables");
const told = z.record(z.string(), z.array(z.tuple([z.string(), z.string()]))).parse(JSON.parse(await readFile(join(folder, "told.json"), "utf8")));

async function readGolden(name: string): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of (await formatOf(join(folder, name))).read(join(folder, name), {})) items.push(item);
  return items;
}

const draftsOf = (items: readonly Item[]): Draft[] => items.flatMap((item) => ("draft" in item ? [item.draft] : []));
const pairsOf = (items: readonly Item[]) => draftsOf(items).map(({ messages, answer }) => [messages.map(textOf).join("\n"), textOf(answer)]);
const faultsOf = (items: readonly Item[]) => items.flatMap((item) => ("fault" in item ? [`#${item.at.record ?? ""}:${item.at.column ?? ""} ${item.fault}`] : []));

/** What is wrong with a golden on purpose; with the others nothing is. */
const expectedFaults: Readonly<Record<string, readonly RegExp[]>> = {
  "days.xlsx": [/^#8:2 a number that is no date/, /^#9:2 a number that is no date/],
  "formulas.xlsx": [/^#8:2 the cell holds the error #N\/A/, /^#9:2 .*#REF!/, /^#10:2 .*#VALUE!/, /^#11:2 .*#NAME\?/],
  "dates.parquet": [/^#2: answer: the answer is empty/],
};

describe("tables of other programs", () => {
  for (const [name, pairs] of Object.entries(told)) {
    it(`reads ${name}`, async () => {
      const items = await readGolden(name);
      assert.deepEqual(pairsOf(items), pairs);
      const faults = faultsOf(items);
      const expected = expectedFaults[name] ?? [];
      assert.equal(faults.length, expected.length, faults.join("\n"));
      for (const [at, pattern] of expected.entries()) assert.match(faults[at] ?? "", pattern);
    });
  }

  it("never takes a formula's own text, whatever it would do", async () => {
    const all = JSON.stringify(await readGolden("formulas.xlsx"));
    assert.doesNotMatch(all, /evil|calc|CONCATENATE|HYPERLINK|6\*7/);
  });

  it("keeps a column's domain, also where it is null", async () => {
    assert.deepEqual(draftsOf(await readGolden("dictionary_zstd.parquet")).slice(0, 2).map(({ domain }) => domain), ["legal", undefined]);
  });

  it("reads chats of Parquet: structs with nulls and 64-bit weights, JSON texts, ShareGPT; names what is no text", async () => {
    const [first, second] = draftsOf(await readGolden("structs.parquet"));
    assert.deepEqual(first?.messages, [{ role: "system", content: "Be short." }, { role: "user", content: "Rio?" }, { role: "assistant", content: "Wrong.", weight: 0 }, { role: "user", content: "Again?" }]);
    assert.deepEqual(first.answer, { role: "assistant", content: "Thirty degrees.", weight: 1, tool_calls: [{ id: "c1", type: "function", function: { name: "w", arguments: "{}" } }] });
    assert.equal(second, undefined);
    assert.deepEqual(faultsOf(await readGolden("structs.parquet")), ["#2: messages: no assistant turn to learn from"]);
    const texts = await readGolden("json_texts.parquet");
    assert.deepEqual(pairsOf(texts), [["Rio?\nWrong.\nAgain?", "Thirty."]]);
    assert.deepEqual(faultsOf(texts), ["#2: messages: not JSON"]);
    assert.deepEqual(pairsOf(await readGolden("sharegpt.parquet")), [["Rio?", "Thirty."]]);
    assert.deepEqual(faultsOf(await readGolden("lists.parquet")), ["#1: answer: is no text, number or date"]);
  });

  it("makes conversations of all of them", async () => {
    for (const name of [...Object.keys(told), "structs.parquet"]) for (const draft of draftsOf(await readGolden(name))) conversationOf(draft, name, 0);
  });
});

describe("number formats", () => {
  const shown = (value: string, code: string, date1904 = false) => numberText(value, numberKind(200, code), date1904);
  it("tell dates from numbers by what the code says, not by its letters", () => {
    for (const code of ["yyyy-mm-dd", "d/m/yy", "[$-416]dd\\ \\d\\e\\ mmmm;@", "mmmm", 'yyyy"年"m"月"d"日"', "dddd", "DD/MM/YYYY"]) assert.equal(shown("45351", code), "2024-02-29", code);
    for (const code of ["General", "0.00E+00", '0 "days"', '"Made by hand" 0', "[Red]0", "#,##0", "_-0_-", "\\d0", "0.0%", "@", "[>=100]0;0"]) assert.equal(shown("45351", code), "45351", code);
    for (const code of ["hh:mm", "h:mm AM/PM", "hh:mm:ss", "mm:ss.0", "s"]) assert.equal(shown("0.75", code), "18:00:00", code);
    assert.equal(shown("1.5", "[h]:mm"), "36:00:00");
    assert.equal(shown("0", "yyyy-mm-dd", true), "1904-01-01");
    assert.equal(shown("43889", "yyyy-mm-dd", true), "2024-02-29");
  });
  it("bring back the zeros of documents, and no more", () => {
    assert.equal(shown("6259666511", '000"."000"."000"-"00'), "062.596.665-11");
    assert.equal(shown("123", "00000"), "00123");
    assert.equal(shown("1234567", "00000"), "1234567");
    assert.equal(shown("1234567", "000-00"), "12345-67");
    assert.equal(shown("1.5", "00000"), "1.5");
    assert.equal(shown("12", "0"), "12");
    assert.equal(shown("12", "00.00"), "12");
  });
});
