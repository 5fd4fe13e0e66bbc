/** The blind set of personal data is well formed, and its check digits are those of published numbers (not of the code under test). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkDigits } from "../bench/anonymise/blind_check_digits.ts";
import { blindSet } from "../bench/anonymise/blind_set.ts";

test("check digits are those of numbers that are published as examples", () => {
  const published: [keyof typeof checkDigits, string, string][] = [
    ["CPF", "111444777", "35"],
    ["CNPJ", "112223330001", "81"],
    ["CNPJ", "12ABC34501DE", "35"],
    ["PIS", "1205641284", "7"],
    ["PIS", "1205627531", "9"],
    ["CNH", "026503064", "61"],
    ["RENAVAM", "0063988496", "2"],
    ["TITULO_ELEITOR", "0337341806", "63"],
    ["PROCESSO", "000000120208260100", "78"],
    ["NHS", "943476591", "9"],
    ["CARTAO", "411111111111111", "1"],
    ["CARTAO", "37828224631000", "5"],
    ["IBAN", "GBWEST12345698765432", "82"],
    ["IBAN", "DE370400440532013000", "89"],
    ["IBAN", "BR00360305000010009795493C1", "18"],
    ["EAN", "978030640615", "7"],
    ["ISBN10", "030640615", "2"],
  ];
  for (const [kind, digits, wanted] of published) assert.equal(checkDigits[kind](digits), wanted, `${kind} ${digits}`);
});

test("the set has a thousand data of all kinds, two near misses in five, and the same at every reading", () => {
  const set = [...blindSet("pt"), ...blindSet("en")];
  const labels = set.flatMap((entry) => entry.labels);
  const kinds = new Set(labels.map((label) => label.kind));
  const nearMisses = set.filter((entry) => entry.labels.length === 0).length / set.length;
  assert.ok(labels.length >= 1000, `${labels.length} data`);
  assert.ok(kinds.size >= 31, `${kinds.size} kinds`);
  assert.ok(nearMisses > 0.37 && nearMisses < 0.43, `${nearMisses} are near misses`);
  assert.deepEqual([...blindSet("pt"), ...blindSet("en")], set);
  for (const { text, labels: own } of set) {
    assert.doesNotMatch(text, /[«»⏎]/, text);
    for (const [at, label] of own.entries()) {
      assert.equal(text.slice(label.start, label.end).trim().length, label.end - label.start, text);
      assert.ok(label.start >= (own[at - 1]?.end ?? 0), text);
    }
  }
});
