/**
 * Trains a byte-level BPE (Sennrich et al. 2016; the byte alphabet and the word pattern of GPT-2) and writes it as tokenizer.json. Used only to
 * make a base model; reading and applying one is the library's work (tokenizer.ts).
 */

/** GPT-2's words: contractions, letters or digits with a leading space, other signs, spaces. */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's printable stand-in for each byte. */
const byteToCharacter: readonly string[] = (() => {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
})();

interface Word {
  symbols: number[];
  count: number;
}

/**
 * @param texts the training text; @param size of the vocabulary, specials included; @param specials tokens that text can't spell, ids from 0
 * @returns the content of tokenizer.json
 */
export function trainBpe(texts: Iterable<string>, size: number, specials: readonly string[]): Record<string, unknown> {
  const vocabulary = [...specials, ...byteToCharacter];
  const firstByte = specials.length;
  const list = countWords(texts, firstByte);
  const pairs = new PairCounts(list);
  const merges: [string, string][] = [];
  while (vocabulary.length < size) {
    const best = pairs.best();
    if (best === undefined) break;
    const [left, right] = [vocabulary[best.left] ?? "", vocabulary[best.right] ?? ""];
    merges.push([left, right]);
    vocabulary.push(left + right);
    pairs.merge(best, vocabulary.length - 1);
  }
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])), merges },
  };
}

function countWords(texts: Iterable<string>, firstByte: number): Word[] {
  const counts = new Map<string, number>();
  for (const text of texts) for (const [word] of text.matchAll(words)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => ({ symbols: [...Buffer.from(word)].map((byte) => firstByte + byte), count }));
}

interface Pair {
  readonly left: number;
  readonly right: number;
}

/** How often each pair of neighbours occurs, kept up to date while pairs are merged: only the words that hold the pair are touched. */
class PairCounts {
  readonly #words: Word[];
  readonly #counts = new Map<number, number>();
  readonly #where = new Map<number, Set<number>>();

  constructor(words: Word[]) {
    this.#words = words;
    words.forEach((word, at) => this.#count(word, at, 1));
  }

  /** The most frequent pair; of equals the one with the smaller ids, so that the result does not depend on the order of a map. */
  best(): Pair | undefined {
    let best = -1;
    let most = 1; // a pair that occurs once is not worth a token
    for (const [key, count] of this.#counts) {
      if (count > most || (count === most && best >= 0 && key < best)) [best, most] = [key, count];
    }
    return best < 0 ? undefined : { left: Math.floor(best / width), right: best % width };
  }

  merge({ left, right }: Pair, merged: number): void {
    for (const at of [...(this.#where.get(left * width + right) ?? [])]) {
      const word = this.#words[at];
      if (word === undefined) continue;
      this.#count(word, at, -1);
      const symbols: number[] = [];
      for (let from = 0; from < word.symbols.length; from++) {
        const symbol = word.symbols[from] ?? 0;
        if (symbol === left && word.symbols[from + 1] === right) {
          symbols.push(merged);
          from++;
        } else symbols.push(symbol);
      }
      word.symbols = symbols;
      this.#count(word, at, 1);
    }
  }

  #count(word: Word, at: number, sign: 1 | -1): void {
    for (let from = 0; from + 1 < word.symbols.length; from++) {
      const key = (word.symbols[from] ?? 0) * width + (word.symbols[from + 1] ?? 0);
      const count = (this.#counts.get(key) ?? 0) + sign * word.count;
      if (count > 0) this.#counts.set(key, count);
      else this.#counts.delete(key);
      const places = this.#where.get(key) ?? new Set();
      if (sign > 0) places.add(at);
      else places.delete(at);
      this.#where.set(key, places);
    }
  }
}

/** Two ids in one number: far below 2^53 for any vocabulary that is trained here. */
const width = 1 << 21;
