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

/** First fit, in the given order (so that shuffling decides the mix): each example goes into the first open sequence with room. */
export function packSequences(examples: readonly Example[], length: number): Example[][] {
  const sequences: { members: Example[]; room: number }[] = [];
  for (const example of examples) {
    const need = example.ids.length - 1;
    const home = sequences.find(({ room }) => room >= need);
    if (home === undefined) sequences.push({ members: [example], room: length - need });
    else {
      home.members.push(example);
      home.room -= need;
    }
  }
  return sequences.map(({ members }) => members);
}

/** @param sequences at most `rows` of them; missing ones are padding */
export function toBatch(sequences: readonly (readonly Example[])[], rows: number, length: number): Batch {
  const batch = {
    tokens: new Int32Array(rows * length),
    targets: new Int32Array(rows * length),
    weights: new Float32Array(rows * length),
    positions: new Int32Array(rows * length),
    segments: new Int32Array(rows * length),
  };
  let usedTokens = 0;
  let trainedTokens = 0;
  sequences.slice(0, rows).forEach((members, row) => {
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
