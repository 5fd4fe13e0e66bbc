/**
 * JSON as text with places (RFC 8259): what is wrong where, keys that stand twice (JSON.parse silently takes the last), and where a path's value begins.
 * Strict, iterative in strings and recursive in depth up to a limit. The values themselves are JSON.parse's.
 */
export interface JsonFault {
  /** In UTF-16 units from the text's beginning. */
  readonly offset: number;
  readonly message: string;
}

const deepest = 200;

/** null: well-formed, and no key stands twice in one object. */
export function checkJson(text: string): JsonFault | null {
  const scan = new Scan(text);
  return scan.run();
}

/** Where the value at a path begins, or as far as the path is there. @param path as in zod's issues */
export function offsetOf(text: string, path: readonly PropertyKey[]): number {
  const scan = new Scan(text, path.map(String));
  scan.run();
  return scan.found;
}

class Stop extends Error {
  readonly fault: JsonFault;
  constructor(offset: number, message: string) {
    super(message);
    this.fault = { offset, message };
  }
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

class Scan {
  readonly #text: string;
  readonly #path: readonly string[];
  #at = 0;
  /** Offset of the deepest part of the path that was met. */
  found = 0;
  #foundDepth = -1;

  constructor(text: string, path: readonly string[] = []) {
    this.#text = text;
    this.#path = path;
  }

  run(): JsonFault | null {
    try {
      this.#space();
      this.#value(0, 0);
      this.#space();
      return this.#at < this.#text.length ? { offset: this.#at, message: "something follows the JSON value" } : null;
    } catch (error) {
      if (error instanceof Stop) return error.fault;
      throw error;
    }
  }

  /** @param matched how many steps of the path lead here */
  #value(depth: number, matched: number): void {
    if (matched === depth && matched > this.#foundDepth) {
      this.#foundDepth = matched;
      this.found = this.#at;
    }
    if (depth > deepest) this.#fail(`nested deeper than ${deepest}`);
    const first = this.#text[this.#at];
    if (first === "{") this.#object(depth, matched);
    else if (first === "[") this.#array(depth, matched);
    else if (first === '"') this.#string();
    else if (first === undefined) this.#fail("the JSON ends early");
    else this.#word();
  }

  #object(depth: number, matched: number): void {
    const keys = new Set<string>();
    this.#at++;
    this.#space();
    if (this.#take("}")) return;
    for (;;) {
      const begin = this.#at;
      if (this.#text[this.#at] !== '"') this.#fail(this.#at >= this.#text.length ? "the JSON ends early" : "a key in double quotes is expected");
      this.#string();
      const raw = this.#text.slice(begin + 1, this.#at - 1);
      const key = raw.includes("\\") ? String(JSON.parse(`"${raw}"`)) : raw;
      if (keys.has(key)) throw new Stop(begin, "this key stands twice in one object");
      keys.add(key);
      this.#space();
      if (!this.#take(":")) this.#fail("':' is expected");
      this.#space();
      this.#value(depth + 1, matched === depth && this.#path[depth] === key ? matched + 1 : matched);
      this.#space();
      if (this.#take("}")) return;
      if (!this.#take(",")) this.#fail(this.#at >= this.#text.length ? "the JSON ends early" : "',' or '}' is expected");
      this.#space();
    }
  }

  #array(depth: number, matched: number): void {
    this.#at++;
    this.#space();
    if (this.#take("]")) return;
    for (let index = 0; ; index++) {
      this.#value(depth + 1, matched === depth && this.#path[depth] === String(index) ? matched + 1 : matched);
      this.#space();
      if (this.#take("]")) return;
      if (!this.#take(",")) this.#fail(this.#at >= this.#text.length ? "the JSON ends early" : "',' or ']' is expected");
      this.#space();
    }
  }

  #string(): void {
    const text = this.#text;
    for (this.#at++; ; this.#at++) {
      const code = text.charCodeAt(this.#at);
      if (code === 0x22) break;
      if (Number.isNaN(code)) this.#fail("a string is not closed");
      if (code < 0x20) this.#fail("a control character stands in a string; write it as an escape");
      if (code === 0x5c) {
        const escape = text[++this.#at];
        if (escape === "u" ? !/^[0-9a-fA-F]{4}$/.test(text.slice(this.#at + 1, this.#at + 5)) : escape === undefined || !'"\\/bfnrt'.includes(escape)) this.#fail("a bad escape");
        if (escape === "u") this.#at += 4;
      }
    }
    this.#at++;
  }

  #word(): void {
    for (const word of ["true", "false", "null"]) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return;
      }
    }
    number.lastIndex = this.#at;
    const match = number.exec(this.#text);
    if (match === null) this.#fail("a JSON value is expected");
    else this.#at += match[0].length;
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #fail(message: string): never {
    throw new Stop(this.#at, message);
  }
}
