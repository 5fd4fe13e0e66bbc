/** A pattern whose matches have one sign in them, such as the "@" of an address: it is tried at the signs alone, from what stands before each. */
import type { Pattern } from "./recogniser.ts";

/** @param sign one character @param back how many characters of a match may stand before its first sign @param inside what these are @param source of the whole match */
export function around(sign: string, back: number, inside: RegExp, source: string): Pattern {
  const sticky = new RegExp(source, "uy");
  return {
    source,
    lastIndex: 0,
    exec(text) {
      for (let at = text.indexOf(sign, this.lastIndex); at >= 0; at = text.indexOf(sign, at + 1)) {
        let start = at;
        while (start > this.lastIndex && start > at - back && inside.test(characterBefore(text, start))) start -= characterBefore(text, start).length;
        sticky.lastIndex = start;
        const match = sticky.exec(text);
        if (match === null) continue;
        this.lastIndex = start + match[0].length;
        return match;
      }
      this.lastIndex = 0;
      return null;
    },
  };
}

/** Whole, where it takes two units. */
function characterBefore(text: string, at: number): string {
  const unit = text.charCodeAt(at - 1);
  return unit >= 0xdc00 && unit <= 0xdfff ? text.slice(Math.max(0, at - 2), at) : text.charAt(at - 1);
}
