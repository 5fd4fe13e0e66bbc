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

/** How many examples are looked at together: enough to fill the gaps, and few enough that the order which they came in still decides the mix. */
const window = 512;

/**
 * Best fit decreasing, in windows of the given order (so that shuffling decides the mix): the longest example of a window comes first, and each goes into
 * the fullest sequence that has room for it, those of earlier windows included. The sequences come in no random order: shuffle them.
 * @param examples of at most `length` + 1 ids, see `fit`
 */
export function packSequences(examples: readonly Example[], length: number): Example[][] {
  const sequences: Example[][] = [];
  const rooms = new Rooms(length);
  for (let from = 0; from < examples.length; from += window) {
    const sorted = examples.slice(from, from + window).sort((a, b) => b.ids.length - a.ids.length);
    for (const example of sorted) {
      const need = example.ids.length - 1;
      if (need < 0 || need > length) throw new RangeError(`an example of ${example.ids.length} ids does not go into a sequence of ${length} positions`);
      const home = rooms.take(need) ?? { sequence: sequences.push([]) - 1, room: length };
      sequences[home.sequence]?.push(example);
      rooms.put(home.sequence, home.room - need);
    }
  }
  return sequences;
}

/** Sequences by the room that is left in them, over a tree of counts: the fullest with enough is found in log n, which matters for a corpus. */
class Rooms {
  readonly #leaves: number;
  readonly #counts: Int32Array;
  readonly #sequences = new Map<number, number[]>();

  /** @param most room that a sequence can have */
  constructor(most: number) {
    this.#leaves = 2 ** Math.ceil(Math.log2(most + 1));
    this.#counts = new Int32Array(2 * this.#leaves);
  }

  put(sequence: number, room: number): void {
    const there = this.#sequences.get(room);
    if (there === undefined) this.#sequences.set(room, [sequence]);
    else there.push(sequence);
    this.#count(room, 1);
  }

  /** Takes the sequence with the least room that is at least `need` away, the one put last among equals. */
  take(need: number): { sequence: number; room: number } | undefined {
    const room = this.#leastFrom(need);
    const sequence = room === undefined ? undefined : this.#sequences.get(room)?.pop();
    if (room === undefined || sequence === undefined) return undefined;
    this.#count(room, -1);
    return { sequence, room };
  }

  #leastFrom(need: number): number | undefined {
    if (need >= this.#leaves) return undefined;
    let at = this.#leaves + need;
    // Up until something lies to the right, then down along its left edge.
    while ((this.#counts[at] ?? 0) === 0) {
      while (at % 2 === 1) at >>= 1;
      if (at === 0) return undefined;
      at++;
    }
    while (at < this.#leaves) at = (this.#counts[2 * at] ?? 0) > 0 ? 2 * at : 2 * at + 1;
    return at - this.#leaves;
  }

  #count(room: number, by: number): void {
    for (let at = this.#leaves + room; at >= 1; at >>= 1) this.#counts[at] = (this.#counts[at] ?? 0) + by;
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
