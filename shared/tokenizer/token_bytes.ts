/**
 * The bytes that a token adds to a text, for what works below words: constrained decoding, and the `bytes` of log-probabilities. Two ways of writing bytes
 * as vocabulary are known: GPT-2's alphabet (ByteLevel), and SentencePiece's (▁ for a space, <0x0A> for a byte that has no word).
 */

/** GPT-2's `bytes_to_unicode`, backwards: printable bytes stand for themselves, the others for characters from U+0100 on, in order. */
const byteOfCharacter = makeAlphabet();
const byteName = /^<0x([0-9A-F]{2})>$/;

function makeAlphabet(): Map<string, number> {
  const printable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let next = 0x100;
  return new Map(Array.from({ length: 256 }, (_, byte) => [String.fromCodePoint(printable(byte) ? byte : next++), byte]));
}

export interface Vocabulary {
  /** Token texts by id, added ones included. */
  readonly tokens: ReadonlyMap<string, number>;
  /** Ids of added tokens: their text stands for itself. */
  readonly added: ReadonlySet<number>;
  /** Of those, the ones that are no text: beginnings, ends, roles. */
  readonly special: ReadonlySet<number>;
}

/** @returns the bytes by id; null where there is no token, or a special one */
export function tokenBytes({ tokens, added, special }: Vocabulary): (Uint8Array | null)[] {
  const byteLevel = [...tokens].some(([token, id]) => !added.has(id) && token.startsWith("Ġ")) && ![...tokens].some(([token, id]) => !added.has(id) && token.startsWith("▁"));
  const bytes: (Uint8Array | null)[] = [];
  for (const [token, id] of tokens) {
    while (bytes.length <= id) bytes.push(null);
    if (!special.has(id)) bytes[id] = added.has(id) ? Buffer.from(token) : byteLevel ? fromAlphabet(token) : fromPiece(token);
  }
  return bytes;
}

function fromAlphabet(token: string): Uint8Array {
  const bytes = Array.from(token, (character) => byteOfCharacter.get(character));
  // A character outside of the alphabet is one that a trainer put in as it is.
  return bytes.includes(undefined) ? Buffer.from(token) : Uint8Array.from(bytes.filter((byte) => byte !== undefined));
}

function fromPiece(token: string): Uint8Array {
  const [, hex] = byteName.exec(token) ?? [];
  return hex === undefined ? Buffer.from(token.replaceAll("▁", " ")) : Uint8Array.of(Number.parseInt(hex, 16));
}
