import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cosine, normalise } from "../../services/gateway/cache/embedding.ts";
import { mostBits, countBits, Sketcher } from "../../services/gateway/cache/sketch.ts";
import { VectorIndex } from "../../services/gateway/cache/vector_index.ts";
import { createRandom } from "../../shared/models/random.ts";

const dimension = 96;
const later = Date.now() + 1_000_000;

describe("sketches", () => {
  it("count bits", () => {
    for (const [word, bits] of [[0, 0], [1, 1], [0xffffffff, 32], [0x80000001, 2], [0x12345678, 13]] as const) assert.equal(countBits(word), bits);
  });

  it("differ in a share of their bits that tells the angle", () => {
    const random = createRandom(3).next;
    const sketcher = new Sketcher(dimension);
    let beyond = 0;
    for (let trial = 0; trial < 300; trial++) {
      const a = randomUnit(random);
      const b = near(a, 0.9, random);
      const [x, y] = [sketcher.sketch(a), sketcher.sketch(b)];
      const distance = x.reduce((sum, word, at) => sum + countBits(word ^ (y[at] ?? 0)), 0);
      if (distance > mostBits(0.9)) beyond++;
    }
    assert.ok(beyond <= 2, `${beyond} of 300 beyond the bound`);
  });
});

describe("vector index", () => {
  it("finds the true nearest in a large partition", () => {
    const random = createRandom(5).next;
    const index = new VectorIndex(dimension);
    const vectors = Array.from({ length: 3_000 }, () => randomUnit(random));
    vectors.forEach((vector, at) => index.put({ id: `e${at}`, partition: "p", vector, expiresAt: later }));
    let found = 0;
    for (let trial = 0; trial < 200; trial++) {
      const target = Math.floor(random() * vectors.length);
      const query = near(vectors[target] ?? new Float32Array(dimension), 0.96, random);
      const best = vectors.reduce((winner, vector, at) => (cosine(vector, query) > cosine(vectors[winner] ?? vector, query) ? at : winner), 0);
      const [first] = index.nearest({ partition: "p", vector: query }, 0.9, 3);
      if (first?.id === `e${best}`) found++;
      if (first !== undefined) assert.ok(Math.abs(first.similarity - cosine(vectors[best] ?? query, query)) < 0.02);
    }
    assert.ok(found >= 198, `${found} of 200`);
  });

  it("keeps partitions, ends of life and removals", () => {
    const random = createRandom(7).next;
    const index = new VectorIndex(dimension);
    const vector = randomUnit(random);
    const ids = (partition: string, now?: number) => index.nearest({ partition, vector }, 0.99, 10, now).map(({ id }) => id).sort();
    index.put({ id: "a", partition: "p", vector, expiresAt: later });
    index.put({ id: "b", partition: "p", vector, expiresAt: later + 10 });
    index.put({ id: "c", partition: "q", vector, expiresAt: later });
    assert.deepEqual([ids("p"), ids("q"), ids("r")], [["a", "b"], ["c"], []]);
    assert.deepEqual(ids("p", later + 1), ["b"]);
    index.put({ id: "a", partition: "q", vector, expiresAt: later });
    assert.deepEqual([ids("p"), ids("q")], [["b"], ["a", "c"]]);
    index.remove("c");
    index.remove("nobody");
    assert.equal([...index.sweep(later + 5)].length, 0, "a small one in one piece");
    assert.deepEqual([ids("p"), ids("q"), index.size], [["b"], [], 1]);
    for (let at = 0; at < 1_000; at++) index.put({ id: `n${at}`, partition: "p", vector: randomUnit(random), expiresAt: later });
    for (let at = 0; at < 1_000; at += 2) index.remove(`n${at}`);
    assert.deepEqual([ids("p"), index.size], [["b"], 501]);
  });
});

function randomUnit(random: () => number): Float32Array {
  return normalise(Float32Array.from({ length: dimension }, () => random() + random() + random() - 1.5));
}

/** A unit vector at about this cosine. */
function near(vector: Float32Array, similarity: number, random: () => number): Float32Array {
  const other = randomUnit(random);
  const along = cosine(other, vector);
  const across = normalise(other.map((value, at) => value - along * (vector[at] ?? 0)));
  return vector.map((value, at) => similarity * value + Math.sqrt(1 - similarity ** 2) * (across[at] ?? 0));
}
