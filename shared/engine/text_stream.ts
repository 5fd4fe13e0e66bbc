/**
 * Tokens → text as it may be shown: bytes of an unfinished character are held back, and so is whatever might become a stop sequence.
 */
const unfinished = "\uFFFD";

export class TextStream {
  readonly #decode: (ids: readonly number[]) => string;
  readonly #stop: readonly string[];
  #ids: number[] = [];
  /** The tokens before `#shownIds` were shown; decoding begins at `#prefix`, some tokens earlier, because some decoders join neighbours. */
  #prefix = 0;
  #shownIds = 0;
  #held = "";
  #stopped = false;

  constructor(decode: (ids: readonly number[]) => string, stop: readonly string[]) {
    this.#decode = decode;
    this.#stop = stop.filter((text) => text !== ""); // the empty text is everywhere
  }

  /** True once a stop sequence was met; nothing comes after it. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Adds a token and returns the text that may now be shown (often the token's own, sometimes "" or more). */
  push(id: number): string {
    this.#ids.push(id);
    const before = this.#decode(this.#ids.slice(this.#prefix, this.#shownIds));
    const after = this.#decode(this.#ids.slice(this.#prefix));
    if (after.length <= before.length || after.endsWith(unfinished)) return "";
    this.#prefix = this.#shownIds;
    this.#shownIds = this.#ids.length;
    return this.#release(after.slice(before.length));
  }

  /** What was held back, once no token follows. */
  end(): string {
    if (this.#stopped) return "";
    const before = this.#decode(this.#ids.slice(this.#prefix, this.#shownIds));
    const rest = this.#decode(this.#ids.slice(this.#prefix)).slice(before.length);
    const text = this.#release(rest) + this.#held;
    this.#held = "";
    return text;
  }

  #release(text: string): string {
    if (this.#stopped) return "";
    const all = this.#held + text;
    const cut = Math.min(...this.#stop.map((stop) => all.indexOf(stop)).filter((at) => at >= 0));
    if (cut !== Infinity) {
      this.#stopped = true;
      this.#held = "";
      return all.slice(0, cut);
    }
    const keep = Math.max(0, ...this.#stop.map((stop) => overlap(all, stop)));
    this.#held = all.slice(all.length - keep);
    return all.slice(0, all.length - keep);
  }
}

/** How many characters at the end of `text` are a beginning of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(stop.length - 1, text.length); length > 0; length--) if (text.endsWith(stop.slice(0, length))) return length;
  return 0;
}
