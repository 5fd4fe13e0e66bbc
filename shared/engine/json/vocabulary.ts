/** A tokenizer's tokens as constrained decoding needs them: by their first byte, and which are plain text within a JSON string. */

export interface JsonVocabulary {
  /** By id; null: special, or no token. */
  readonly bytes: readonly (Uint8Array | null)[];
  /** By id, 1 where the token leaves a string open wherever it comes in it: no quote, backslash or control character, whole characters only. */
  readonly plain: Uint8Array;
  /** Ids by first byte. */
  readonly all: readonly (readonly number[])[];
  /** The same without the plain ones. */
  readonly rough: readonly (readonly number[])[];
}

export function jsonVocabulary(bytes: readonly (Uint8Array | null)[]): JsonVocabulary {
  const plain = new Uint8Array(bytes.length);
  const all = Array.from({ length: 256 }, (): number[] => []);
  const rough = Array.from({ length: 256 }, (): number[] => []);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  bytes.forEach((token, id) => {
    const [first] = token ?? [];
    if (token === null || first === undefined) return;
    plain[id] = isPlain(token, decoder) ? 1 : 0;
    all[first]?.push(id);
    if (plain[id] === 0) rough[first]?.push(id);
  });
  return { bytes, plain, all, rough };
}

function isPlain(token: Uint8Array, decoder: TextDecoder): boolean {
  if (token.some((byte) => byte < 0x20 || byte === 0x22 || byte === 0x5c)) return false;
  try {
    decoder.decode(token);
    return true;
  } catch {
    return false;
  }
}
