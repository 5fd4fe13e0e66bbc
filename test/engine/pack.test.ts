import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { z } from "zod";
import { projectRoot } from "../../shared/config/settings.ts";
import { evaluate, meanLoss } from "../../shared/engine/evaluate.ts";
import { fit, packSequences, toBatch, type Batch, type Example } from "../../shared/engine/pack.ts";
import { createRandom } from "../../shared/models/random.ts";
import { loadTokenizer } from "../../shared/tokenizer/tokenizer.ts";

/** Ids from `first` on; all but the first are trained. */
const example = (length: number, first = 10): Example => ({ ids: Array.from({ length }, (_, at) => first + at), trained: Array.from({ length }, (_, at) => at > 0) });
const lengths = (sequences: readonly (readonly Example[])[]) => sequences.map((members) => members.map(({ ids }) => ids.length));

test("examples are cut to one id more than positions; those of which nothing trained remains are left out", () => {
  const late: Example = { ids: [1, 2, 3, 4, 5, 6], trained: [false, false, false, false, false, true] };
  const onlyFirst: Example = { ids: [1, 2], trained: [true, false] };
  const { fitted, truncated, empty } = fit([example(9), example(5), late, onlyFirst], 4);
  assert.deepEqual(fitted.map(({ ids }) => ids.length), [5, 5]);
  assert.deepEqual(fitted.map(({ trained }) => trained.length), [5, 5]);
  assert.deepEqual([truncated, empty], [2, 2]);
});

test("the longest comes first, and each goes into the fullest sequence with room", () => {
  assert.deepEqual(lengths(packSequences([example(5), example(4), example(3), example(2), example(6)], 6)), [[6, 2], [5, 3], [4]]);
  assert.deepEqual(packSequences([], 6), []);
  assert.deepEqual(lengths(packSequences([example(7), example(7)], 6)), [[7], [7]]);
});

test("packing is what a plain search would do, on 200 random lists of up to three windows, and loses no example", () => {
  const random = createRandom(2);
  for (let round = 0; round < 200; round++) {
    const length = 4 + Math.floor(random.next() * 30);
    const examples = Array.from({ length: Math.floor(random.next() * (round % 10 === 0 ? 1_400 : 40)) }, () => example(1 + Math.floor(random.next() * (length + 1))));
    const plain: { members: Example[]; room: number; touched: number }[] = [];
    let now = 0;
    for (let from = 0; from < examples.length; from += 512) {
      for (const one of examples.slice(from, from + 512).sort((a, b) => b.ids.length - a.ids.length)) {
        const need = one.ids.length - 1;
        now++;
        const [home] = plain.filter(({ room }) => room >= need).sort((a, b) => a.room - b.room || b.touched - a.touched);
        if (home === undefined) plain.push({ members: [one], room: length - need, touched: now });
        else Object.assign(home, { members: [...home.members, one], room: home.room - need, touched: now });
      }
    }
    assert.deepEqual(packSequences(examples, length), plain.map(({ members }) => members));
  }
});

/** Share of the positions that carry a token. */
const used = (examples: readonly Example[], length: number) => examples.reduce((sum, { ids }) => sum + ids.length - 1, 0) / (packSequences(examples, length).length * length);

test("at least 95 % of the positions are used when an example is a quarter of a sequence, as chats are", () => {
  const random = createRandom(5);
  // Log-normal around 110 ids, as the lengths of question and answer pairs are: their mean is about 139 of 512.
  const chats = Array.from({ length: 2_000 }, () => example(Math.min(513, 2 + Math.round(Math.exp(Math.log(110) + 0.65 * random.normal())))));
  for (const length of [512, 1_024]) assert.ok(used(chats, length) > 0.98, `${length}: ${used(chats, length)}`);
  assert.ok(used(chats.slice(0, 130), 512) > 0.95, `130 of them: ${used(chats.slice(0, 130), 512)}`);
});

const gpteacher = join(projectRoot, "..", "shared", "data", "gpteacher", "codegen-instruct.json");
test("at least 95 % of the positions are used on real instructions", { skip: existsSync(gpteacher) ? false : "the data set gpteacher is not here" }, async () => {
  const tokenizer = await loadTokenizer(join(projectRoot, "base_models", "everlora-tiny"), [1]);
  const rows = z.array(z.object({ instruction: z.string(), input: z.string(), response: z.string() })).parse(JSON.parse(await readFile(gpteacher, "utf8")));
  const examples = rows.slice(0, 1_000).map((row) => {
    const { ids, spoken } = tokenizer.conversation([
      { role: "user", content: `${row.instruction}\n${row.input}` },
      { role: "assistant", content: row.response },
    ]);
    return { ids, trained: spoken };
  });
  const { fitted } = fit(examples, 512);
  assert.ok(used(createRandom(1).shuffle(fitted), 512) > 0.95, `${used(fitted, 512)}`);
});

test("an example that is too long, or none at all, is refused by packing; too much for a batch by the batch", () => {
  assert.throws(() => packSequences([example(8)], 6), /an example of 8 ids does not go into a sequence of 6/);
  assert.throws(() => packSequences([{ ids: [], trained: [] }], 6), /0 ids/);
  assert.throws(() => toBatch([[example(3)], [example(3)]], 1, 4), /2 sequences do not go into a batch of 1/);
  assert.throws(() => toBatch([[example(4), example(4)]], 1, 5), /6 positions does not go into 5/);
});

test("a batch: tokens, their successors, positions and segments from the start of each example, padding of zeros", () => {
  const second: Example = { ids: [7, 8, 9], trained: [false, false, true] };
  const batch = toBatch([[example(3), second], [example(2, 40)]], 3, 5);
  const rows = (list: ArrayLike<number>) => Array.from({ length: 3 }, (_, row) => Array.from(list).slice(row * 5, row * 5 + 5).join(" "));
  assert.deepEqual(rows(batch.tokens), ["10 11 7 8 0", "40 0 0 0 0", "0 0 0 0 0"]);
  assert.deepEqual(rows(batch.targets), ["11 12 8 9 0", "41 0 0 0 0", "0 0 0 0 0"]);
  assert.deepEqual(rows(batch.weights), ["1 1 0 1 0", "1 0 0 0 0", "0 0 0 0 0"]);
  assert.deepEqual(rows(batch.positions), ["0 1 0 1 0", "0 0 0 0 0", "0 0 0 0 0"]);
  assert.deepEqual(rows(batch.segments), ["1 1 2 2 0", "1 0 0 0 0", "0 0 0 0 0"]);
  assert.deepEqual([batch.usedTokens, batch.trainedTokens], [5, 4]);
});

/** A loss that depends on token and target only, so that each example's mean can be said beforehand. */
const fake = async (batch: Batch) => Float32Array.from(batch.tokens, (token, at) => (token + 2 * (batch.targets[at] ?? 0)) * (batch.weights[at] ?? 0));
const expected = ({ ids, trained }: Example) => {
  const losses = ids.slice(1).flatMap((id, at) => (trained[at + 1] === true ? [(ids[at] ?? 0) + 2 * id] : []));
  return { loss: losses.reduce((sum, loss) => sum + loss, 0) / losses.length, tokens: losses.length };
};

test("evaluation gives each example its own mean, in the order of the examples, whatever they are packed with", async () => {
  const examples = Array.from({ length: 30 }, (_, at) => ({ ...example(2 + (at * 7) % 9, 3 * at), trained: Array.from({ length: 2 + (at * 7) % 9 }, (_unused, place) => place > 0 && (place + at) % 3 !== 0) })).filter(({ trained }) => trained.some(Boolean));
  for (const shape of [{ rows: 1, length: 12 }, { rows: 4, length: 12 }, { rows: 3, length: 40 }]) {
    const results = await evaluate(examples, shape, fake);
    examples.forEach((one, at) => assert.deepEqual(results[at], expected(one), `example ${at} in ${shape.rows} × ${shape.length}`));
    const reversed = await evaluate([...examples].reverse(), shape, fake);
    assert.deepEqual([...reversed].reverse(), results);
  }
});

test("what truncation left nothing of is null, and the same example may come twice", async () => {
  const one = example(3);
  const lost: Example = { ids: [1, 2, 3, 4, 5, 6, 7], trained: [false, false, false, false, false, false, true] };
  assert.deepEqual(await evaluate([one, lost, one], { rows: 2, length: 4 }, fake), [expected(one), null, expected(one)]);
  assert.deepEqual(await evaluate([], { rows: 2, length: 4 }, fake), []);
});

test("the mean over examples weighs tokens, and is no number when nothing was measured", () => {
  assert.deepEqual(meanLoss([{ loss: 1, tokens: 3 }, null, { loss: 5, tokens: 1 }]), { loss: 2, tokens: 4, rows: 2 });
  assert.deepEqual(meanLoss([null]), { loss: NaN, tokens: 0, rows: 0 });
});
