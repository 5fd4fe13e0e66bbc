/**
 * Python literals as `ast.literal_eval` reads them, as far as repr() writes them: dict, list, tuple, str, numbers, True, False, None. LiteLLM stores str(dict)
 * where it forgot json.dumps. Nothing is ever evaluated.
 */
const deepest = 100;
const number = /[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|inf|nan)/y;
const words: Readonly<Record<string, unknown>> = { True: true, False: false, None: null };
const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", "\\": "\\", "'": "'", '"': '"', a: "\x07", b: "\b", f: "\f", v: "\v", "\n": "" };

/** @throws SyntaxError that names the place and quotes nothing */
export function parsePythonLiteral(text: string): unknown {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): unknown {
    if (depth > deepest) this.#fail("nested too deep");
    this.#space();
    const first = this.#text[this.#at] ?? "";
    if (first === "{") return this.#dict(depth);
    if (first === "[" || first === "(") return this.#list(first === "[" ? "]" : ")", depth);
    if (first === "'" || first === '"') return this.#string();
    for (const [word, value] of Object.entries(words)) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    number.lastIndex = this.#at;
    const match = number.exec(this.#text);
    if (match === null) return this.#fail("a value is expected");
    this.#at += match[0].length;
    return Number(match[0]);
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) this.#fail("something follows");
  }

  #dict(depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = [];
    this.#at++;
    while (!this.#take("}")) {
      const key = this.value(depth + 1);
      if (typeof key !== "string" && typeof key !== "number") this.#fail("a key is expected");
      if (!this.#take(":")) this.#fail("':' is expected");
      entries.push([String(key), this.value(depth + 1)]);
      if (!this.#take(",") && this.#next() !== "}") this.#fail("',' is expected");
    }
    return Object.fromEntries(entries);
  }

  #list(close: string, depth: number): unknown[] {
    const items: unknown[] = [];
    this.#at++;
    while (!this.#take(close)) {
      items.push(this.value(depth + 1));
      if (!this.#take(",") && this.#next() !== close) this.#fail("',' is expected");
    }
    return items;
  }

  #string(): string {
    const quote = this.#text[this.#at++];
    let value = "";
    for (;;) {
      const character = this.#text[this.#at++];
      if (character === undefined || character === "\n") return this.#fail("a string is not closed");
      if (character === quote) return value;
      value += character === "\\" ? this.#escape() : character;
    }
  }

  #escape(): string {
    const kind = this.#text[this.#at++] ?? "";
    const length = kind === "x" ? 2 : kind === "u" ? 4 : kind === "U" ? 8 : 0;
    if (length === 0) return escapes[kind] ?? `\\${kind}`;
    const hex = this.#text.slice(this.#at, this.#at + length);
    const code = /^[0-9a-fA-F]+$/.test(hex) && hex.length === length ? Number.parseInt(hex, 16) : Infinity;
    if (code > 0x10ffff) return this.#fail("a bad escape");
    this.#at += length;
    return String.fromCodePoint(code);
  }

  #space(): void {
    while (/\s/.test(this.#text[this.#at] ?? "")) this.#at++;
  }

  #next(): string | undefined {
    this.#space();
    return this.#text[this.#at];
  }

  #take(character: string): boolean {
    if (this.#next() !== character) return false;
    this.#at++;
    return true;
  }

  #fail(what: string): never {
    throw new SyntaxError(`${what} at character ${this.#at + 1}`);
  }
}
