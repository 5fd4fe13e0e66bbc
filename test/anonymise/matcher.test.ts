/** The matcher tries recognisers only where a match could begin. Here it is held against the same rows, each run over the whole text with nothing left out. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { createMatcher } from "../../shared/anonymise/matcher.ts";
import { contextLength, isPlaceholder, near, type Recogniser } from "../../shared/anonymise/recogniser.ts";
import { recognisers } from "../../shared/anonymise/recognisers/recognisers.ts";
import { projectRoot } from "../../shared/config/settings.ts";
import { loadSamples } from "../../shared/datasets/samples.ts";
import { textOf } from "../../shared/events/conversation.ts";
import { labelledSet } from "../bench/anonymise/labelled_set.ts";

/** Every candidate of one row, wherever it stands. */
function everywhere({ pattern, check, context, needs, shrink }: Recogniser, text: string): string[] {
  const found: string[] = [];
  pattern.lastIndex = 0;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const value = match.groups?.["value"] ?? match[0];
    const start = match.index + match[0].length - value.length;
    const inContext = context?.anywhere.test(text.slice(Math.max(0, start - contextLength), start)) === true;
    for (let rest = value; rest !== ""; rest = /^(.+)\s\S+$/su.exec(rest)?.[1] ?? "") {
      const checked = check === undefined || check(rest);
      if (needs === "either" && check !== undefined ? checked || inContext : checked && (context === undefined || inContext)) {
        if (!isPlaceholder(rest)) found.push(`${start} ${rest}`);
        break;
      }
      if (shrink !== true) break;
    }
  }
  return found;
}

const sameDigit = /^[^\p{L}\d]*(\d)(?:[^\p{L}\d]*\1){8,}[^\p{L}\d]*$/u;

describe("the matcher", () => {
  it("finds with each recogniser at its places what it finds in the whole text", async () => {
    const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
    const texts = [...labelledSet("tuning").map(({ text }) => text), ...samples.filter(({ kind }) => kind === "personal").flatMap(({ messages }) => messages.map(textOf))];
    let total = 0;
    for (const [rank, recogniser] of recognisers.entries()) {
      const matcher = createMatcher([recogniser]);
      for (const text of texts) {
        const found = matcher.find(text).map(({ start, end }) => `${start} ${text.slice(start, end)}`);
        const wanted = everywhere(recogniser, text).filter((one) => !sameDigit.test(one.slice(one.indexOf(" ") + 1)));
        total += wanted.length;
        // A place may be more: a candidate without its context does not swallow the one behind it.
        for (const one of wanted) assert.ok(found.includes(one), `row ${rank}, ${recogniser.kind}: ${JSON.stringify(one)} in ${JSON.stringify(text)}; found ${JSON.stringify(found)}`);
      }
    }
    assert.ok(total > 2_000, `${total} candidates`);
  });

  it("sees words with accents in any spelling, and across the blocks of a long text", () => {
    const matcher = createMatcher([{ kind: "X", pattern: /(?<![\p{L}\p{N}_])\d{3}(?![\p{L}\p{N}_])/gu, digits: 3, context: near("cartão") }], ["token"]);
    for (const text of ["cartão 123", "CARTÃO 123"]) assert.equal(matcher.find(text).length, 1, text);
    for (let before = 65_520; before < 65_540; before++) {
      assert.deepEqual(matcher.find(`${"x ".repeat(before / 2)}${before % 2 === 0 ? "" : "."}cartão 123`).map(({ end, start }) => end - start), [3], `${before}`);
      matcher.find(`${" ".repeat(before)}userToken`);
      assert.equal(matcher.scan.seen[0], 1, `a part of a word after ${before} characters`);
    }
  });

  it("has no pattern that could take more time per character on a longer text", () => {
    for (const { kind, pattern, context } of recognisers) {
      for (const source of [pattern.source, context?.fromWord.source ?? ""]) {
        const bare = source.replace(/\\./gs, "x").replace(/\[[^\]]*\]/g, "x");
        assert.doesNotMatch(bare, /[*+]|\{\d+,\}/, `${kind}: a repetition without an end in ${source}`);
      }
    }
  });

  it("ends on long texts of what each kind of pattern likes best", () => {
    const matcher = createMatcher(recognisers);
    for (const piece of ["1", "1.", "1 ", "+1-", "(1) ", "a@", "a.a@a.", "::", "f:", "://a:", "eyJ-", "-----BEGIN PRIVATE KEY-----", "Rua A ", "rua a 1 ", "pedido nonononono1 ", "cpf codecodecode 1 ", "senha is ", "AB12 ", "12 de ", "key=a", "Ana ", "CRM/SP ", "PID|1||", "senha a.br.a1#", "\"senha1 é ", "placa. ABC-1234 ", "\u{1d49c}", "a\u0301"]) {
      const text = piece.repeat(Math.ceil(100_000 / piece.length));
      assert.ok(Array.isArray(matcher.find(text)), piece);
    }
  });
});
