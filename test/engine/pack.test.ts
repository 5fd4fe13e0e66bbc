import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, meanLoss } from "../../shared/engine/evaluate.ts";
import { fit, packSequences, toBatch, type Batch, type Example } from "../../shared/engine/pack.ts";
import { createRandom } from "../../shared/models/random.ts";

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

test("each example goes into the first sequence with room", () => {
  assert.deepEqual(lengths(packSequences([example(5), example(4), example(3), example(2), example(6)], 6)), [[5, 3], [4, 2], [6]]);
  assert.deepEqual(packSequences([], 6), []);
  assert.deepEqual(lengths(packSequences([example(7), example(7)], 6)), [[7], [7]]);
});

test("packing is what a plain search would do, on 200 random lists, and loses no example", () => {
  const random = createRandom(2);
  for (let round = 0; round < 200; round++) {
    const length = 4 + Math.floor(random.next() * 30);
    const examples = Array.from({ length: Math.floor(random.next() * 40) }, () => example(1 + Math.floor(random.next() * (length + 1))));
    const plain: { members: Example[]; room: number }[] = [];
    for (const one of examples) {
      const need = one.ids.length - 1;
      const home = plain.find(({ room }) => room >= need);
      if (home === undefined) plain.push({ members: [one], room: length - need });
      else {
        home.members.push(one);
        home.room -= need;
      }
    }
    assert.deepEqual(packSequences(examples, length), plain.map(({ members }) => members));
  }
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
