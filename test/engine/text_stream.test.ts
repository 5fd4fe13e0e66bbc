import assert from "node:assert/strict";
import { test } from "node:test";
import { TextStream } from "../../shared/engine/text_stream.ts";
import { createRandom } from "../../shared/models/random.ts";

/** A tokenizer whose tokens are given pieces of bytes. */
function tokens(pieces: readonly (string | readonly number[])[]): { ids: number[]; decode: (ids: readonly number[]) => string } {
  const bytes = pieces.map((piece) => Buffer.from(piece as string));
  return { ids: bytes.map((_, id) => id), decode: (ids) => Buffer.concat(ids.map((id) => bytes[id] ?? Buffer.alloc(0))).toString("utf8") };
}

function stream(pieces: readonly (string | readonly number[])[], stop: readonly string[] = []): { shown: string[]; end: string; stopped: boolean; all: string } {
  const { ids, decode } = tokens(pieces);
  const text = new TextStream(decode, stop);
  const shown: string[] = [];
  for (const id of ids) {
    if (text.stopped) break;
    shown.push(text.push(id));
  }
  const { stopped } = text;
  const end = text.end();
  return { shown, end, stopped, all: shown.join("") + end };
}

test("whole characters are shown at once", () => {
  assert.deepEqual(stream(["Hel", "lo", ", ", "ação"]).shown, ["Hel", "lo", ", ", "ação"]);
});

test("the bytes of an unfinished character are held back until it is whole", () => {
  const smile = Buffer.from("🙂");
  assert.deepEqual(stream(["a", [...smile.subarray(0, 2)], [...smile.subarray(2, 3)], [...smile.subarray(3)], "b"]).shown, ["a", "", "", "🙂", "b"]);
  assert.deepEqual(stream([[0xc3], [0xa7, 0xc3], [0xa3], "o"]).all, "ção");
});

test("what never becomes a character is shown as such, late but once", () => {
  assert.equal(stream(["a", [0xff], "b"]).all, "a\uFFFDb");
  assert.equal(stream(["a", [0xe2, 0x82]]).all, "a\uFFFD");
  assert.deepEqual(stream(["a", [0xe2, 0x82]]).shown, ["a", ""]);
});

test("tokens without text show nothing", () => {
  assert.deepEqual(stream(["a", "", "b", ""]).shown, ["a", "", "b", ""]);
});

test("a stop sequence within a token, across tokens, and at the very beginning ends the text before it", () => {
  assert.deepEqual(stream(["one STOP two"], ["STOP"]), { shown: ["one "], end: "", stopped: true, all: "one " });
  assert.deepEqual(stream(["one S", "T", "OP two", "three"], ["STOP"]), { shown: ["one ", "", ""], end: "", stopped: true, all: "one " });
  assert.equal(stream(["STOP", "x"], ["STOP"]).all, "");
});

test("what only began like a stop sequence is shown as soon as that is clear, or at the end", () => {
  assert.deepEqual(stream(["one ST", "ART"], ["STOP"]).shown, ["one ", "START"]);
  assert.deepEqual(stream(["one STO"], ["STOP"]), { shown: ["one "], end: "STO", stopped: false, all: "one STO" });
  assert.equal(stream(["a", "a", "b"], ["aab"]).all, "");
  assert.equal(stream(["a", "a", "a", "b", "c"], ["aab"]).all, "a");
});

test("of several stop sequences the one that is complete first counts", () => {
  assert.equal(stream(["x ab", "cd"], ["abcd", "b"]).all, "x a");
  assert.equal(stream(["x a", "b y"], ["y", "ab"]).all, "x ");
});

test("a stop sequence whose character is split between tokens", () => {
  const bytes = Buffer.from("fim✋resto");
  assert.equal(stream([[...bytes.subarray(0, 4)], [...bytes.subarray(4, 5)], [...bytes.subarray(5)]], ["✋"]).all, "fim");
});

test("the empty stop sequence stops nothing", () => {
  assert.equal(stream(["ab", "c"], [""]).all, "abc");
});

test("after the end nothing comes", () => {
  const { decode } = tokens(["a STOP b", "c"]);
  const text = new TextStream(decode, ["STOP"]);
  assert.equal(text.push(0), "a ");
  assert.equal(text.push(1), "");
  assert.equal(text.end(), "");
});

test("2,000 random texts, cut into tokens anywhere: what is shown is the text up to the first stop sequence", () => {
  const random = createRandom(11);
  const alphabet = ["a", "b", "ab", "ç", "🙂", "日", "\n", " ", "é"];
  const pick = (length: number) => Array.from({ length }, () => alphabet[Math.floor(random.next() * alphabet.length)] ?? "").join("");
  for (let round = 0; round < 2_000; round++) {
    const text = pick(Math.floor(random.next() * 12));
    const stops = Array.from({ length: Math.floor(random.next() * 3) }, () => pick(1 + Math.floor(random.next() * 2)));
    const bytes = [...Buffer.from(text)];
    const pieces: number[][] = [];
    while (bytes.length > 0) pieces.push(bytes.splice(0, 1 + Math.floor(random.next() * 5)));
    const { shown, all, stopped } = stream(pieces, stops);
    const ends = stops.map((stop) => ({ stop, at: text.indexOf(stop) })).filter(({ at }) => at >= 0);
    const what = JSON.stringify({ text, stops, pieces });
    assert.equal(ends.length > 0, stopped || ends.some(({ stop }) => !all.includes(stop)), what);
    // Which of two overlapping stops wins depends on which token completed one; never is a whole stop shown, and never more than the text.
    if (ends.length === 0) assert.equal(all, text, what);
    else assert.ok(text.startsWith(all) && ends.some(({ at }) => at === all.length) && !stops.some((stop) => all.includes(stop)), what);
    assert.ok(!shown.join("").includes("\uFFFD"), what);
  }
});
