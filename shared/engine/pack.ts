/**
 * Examples of any length → sequences of one fixed length (few shapes, so few compiled graphs), several examples in a sequence. Segments keep
 * attention apart, positions start anew in each.
 */
export interface Example {
  readonly ids: readonly number[];
  /** True where the token carries loss. */
  readonly trained: readonly boolean[];
}

/** A batch of B sequences of T positions, each array B·T long, row by row. */
export interface Batch {
  readonly rows: number;
  readonly length: number;
  readonly tokens: Int32Array;
  /** The token to predict at each position. */
  readonly targets: Int32Array;
  /** 1 where the target carries loss. */
  readonly weights: Float32Array;
  readonly positions: Int32Array;
  /** Number of the example within its sequence from 1; 0 = padding. */
  readonly segments: Int32Array;
  readonly usedTokens: number;
  readonly trainedTokens: number;
}

/** Cuts examples to `length` + 1 ids, and leaves out those of which nothing trained remains. */
export function fit(examples: readonly Example[], length: number): { fitted: Example[]; truncated: number; empty: number } {
  let truncated = 0;
  const cut = examples.map((example) => {
    if (example.ids.length <= length + 1) return example;
    truncated++;
    return { ids: example.ids.slice(0, length + 1), trained: example.trained.slice(0, length + 1) };
  });
  const fitted = cut.filter(({ trained }) => trained.some((carries, at) => at > 0 && carries));
  return { fitted, truncated, empty: cut.length - fitted.length };
}

/**
 * First fit, in the given order (so that shuffling decides the mix): each example goes into the first sequence with room.
 * @param examples of at most `length` + 1 ids, see `fit`
 */
export function packSequences(examples: readonly Example[], length: number): Example[][] {
  const sequences: Example[][] = [];
  const rooms = new Rooms(examples.length, length);
  for (const example of examples) {
    const need = example.ids.length - 1;
    if (need < 0 || need > length) throw new RangeError(`an example of ${example.ids.length} ids does not go into a sequence of ${length} positions`);
    const at = rooms.take(need);
    (sequences[at] ??= []).push(example);
  }
  return sequences;
}

/** The room left in each of many sequences, as a tree of maxima: the first with enough is found in log n, which matters for a corpus. */
class Rooms {
  readonly #leaves: number;
  readonly #most: Int32Array;

  constructor(count: number, room: number) {
    this.#leaves = 2 ** Math.ceil(Math.log2(Math.max(count, 1)));
    this.#most = new Int32Array(2 * this.#leaves).fill(room);
  }

  /** Takes `need` from the first sequence that has it, and returns its index. There must be one: never more sequences than examples. */
  take(need: number): number {
    let at = 1;
    while (at < this.#leaves) at = (this.#most[2 * at] ?? 0) >= need ? 2 * at : 2 * at + 1;
    const index = at - this.#leaves;
    this.#most[at] = (this.#most[at] ?? 0) - need;
    for (at >>= 1; at >= 1; at >>= 1) this.#most[at] = Math.max(this.#most[2 * at] ?? 0, this.#most[2 * at + 1] ?? 0);
    return index;
  }
}

/** @param sequences at most `rows` of them; missing ones are padding @throws RangeError when they do not fit, which would spill into the next row */
export function toBatch(sequences: readonly (readonly Example[])[], rows: number, length: number): Batch {
  if (sequences.length > rows) throw new RangeError(`${sequences.length} sequences do not go into a batch of ${rows}`);
  const batch = {
    tokens: new Int32Array(rows * length),
    targets: new Int32Array(rows * length),
    weights: new Float32Array(rows * length),
    positions: new Int32Array(rows * length),
    segments: new Int32Array(rows * length),
  };
  let usedTokens = 0;
  let trainedTokens = 0;
  sequences.forEach((members, row) => {
    const needed = members.reduce((sum, { ids }) => sum + ids.length - 1, 0);
    if (needed > length) throw new RangeError(`a sequence of ${needed} positions does not go into ${length}`);
    let at = row * length;
    members.forEach(({ ids, trained }, member) => {
      for (let from = 0; from + 1 < ids.length; from++, at++) {
        batch.tokens[at] = ids[from] ?? 0;
        batch.targets[at] = ids[from + 1] ?? 0;
        batch.weights[at] = trained[from + 1] === true ? 1 : 0;
        batch.positions[at] = from;
        batch.segments[at] = member + 1;
        usedTokens++;
        if (trained[from + 1] === true) trainedTokens++;
      }
    });
  });
  return { rows, length, ...batch, usedTokens, trainedTokens };
}
