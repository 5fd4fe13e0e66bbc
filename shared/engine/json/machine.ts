/**
 * What may come next in a JSON text of a schema, byte by byte: a pushdown automaton whose states are made as they are met and kept, so that the same place is never
 * worked out twice. Where a schema leaves a choice (anyOf, optional properties) a state stands for all that it may still be.
 * Bytes follow RFC 8259; strings are valid UTF-8. Not responsible for tokens (constraint.ts).
 */
import type { Node } from "./schema.ts";

/** Between two signs; a model that can't decide writes blanks for ever. */
const mostBlanks = 16;
/** Values within values, where the schema sets no end. */
const mostDepth = 64;
/** Digits before and behind the point, so that numbers end. */
const mostDigits = 15;

/** One place in a text; `behind` is where it goes on when what is being written is complete, null: nowhere. */
interface Place {
  readonly id: number;
  readonly depth: number;
  readonly behind: Place | null;
  step(byte: number): readonly Place[];
  /** What is being written may be over without a sign (numbers). */
  readonly mayEnd: boolean;
  /** Within a string, between two characters. */
  readonly inString: boolean;
}

export class State {
  readonly places: readonly Place[];
  readonly #machine: Machine;
  readonly #next = new Map<number, State | null>();

  constructor(machine: Machine, places: readonly Place[]) {
    this.#machine = machine;
    this.places = places;
  }

  /** null: this byte may not come. */
  step(byte: number): State | null {
    const known = this.#next.get(byte);
    if (known !== undefined) return known;
    const next = this.#machine.state(this.places.flatMap((place) => place.step(byte)));
    this.#next.set(byte, next);
    return next;
  }

  /** The text may end here. */
  get mayEnd(): boolean {
    return this.places.some((place) => place === this.#machine.end || (place.mayEnd && place.behind === this.#machine.end));
  }

  /** The text must end here. */
  get complete(): boolean {
    return this.places.every((place) => place === this.#machine.end);
  }

  /** All of it is the inside of a string: any plain text may come. */
  get inString(): boolean {
    return this.places.every(({ inString }) => inString);
  }
}

const code = (character: string) => character.charCodeAt(0);
const [quote, backslash, comma, colon, minus, point] = ['"', "\\", ",", ":", "-", "."].map(code) as [number, number, number, number, number, number];
const isBlank = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
const isDigit = (byte: number) => byte >= 0x30 && byte <= 0x39;
const isHex = (byte: number) => isDigit(byte) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
const escaped = new Set(['"', "\\", "/", "b", "f", "n", "r", "t"].map(code));
/** Least and greatest second byte, and how many follow, by the first byte of a character (Unicode, table 3-7). */
function utf8(first: number): readonly [number, number, number] | null {
  if (first >= 0xc2 && first <= 0xdf) return [0x80, 0xbf, 1];
  if (first === 0xe0) return [0xa0, 0xbf, 2];
  if (first === 0xed) return [0x80, 0x9f, 2];
  if (first >= 0xe1 && first <= 0xef) return [0x80, 0xbf, 2];
  if (first === 0xf0) return [0x90, 0xbf, 3];
  if (first >= 0xf1 && first <= 0xf3) return [0x80, 0xbf, 3];
  if (first === 0xf4) return [0x80, 0x8f, 3];
  return null;
}
const texts = { true: Buffer.from("true"), false: Buffer.from("false"), null: Buffer.from("null") } as const;

type NumberPhase = "minus" | "zero" | "whole" | "point" | "fraction" | "e" | "sign" | "exponent";
const numberEnds: ReadonlySet<NumberPhase> = new Set(["zero", "whole", "fraction", "exponent"]);

export class Machine {
  readonly end: Place = { id: 0, depth: 0, behind: null, mayEnd: false, inString: false, step: () => [] };
  readonly start: State;
  readonly #places = new Map<string, Place>();
  readonly #states = new Map<string, State>();
  readonly #nodeIds = new Map<Node, number>();

  constructor(root: Node) {
    const start = this.state([this.#value(root, 0, this.end)]);
    if (start === null) throw new RangeError("nothing can be written");
    this.start = start;
  }

  /** How much has been worked out: who keeps a machine for long looks at it. */
  get size(): number {
    return this.#places.size + this.#states.size;
  }

  state(places: readonly Place[]): State | null {
    if (places.length === 0) return null;
    const distinct = [...new Map(places.map((place) => [place.id, place])).values()].sort((a, b) => a.id - b.id);
    const key = distinct.map(({ id }) => id).join(" ");
    const known = this.#states.get(key) ?? new State(this, distinct);
    this.#states.set(key, known);
    return known;
  }

  #place(key: string, behind: Place, step: (byte: number) => readonly Place[], more: { mayEnd?: boolean; inString?: boolean; deeper?: boolean } = {}): Place {
    const name = `${key} ${behind.id}`;
    const known = this.#places.get(name);
    if (known !== undefined) return known;
    const { mayEnd = false, inString = false, deeper = false } = more;
    const made: Place = { id: this.#places.size + 1, depth: behind.depth + (deeper ? 1 : 0), behind, step, mayEnd, inString };
    this.#places.set(name, made);
    return made;
  }

  #idOf(node: Node): number {
    const known = this.#nodeIds.get(node) ?? this.#nodeIds.size;
    this.#nodeIds.set(node, known);
    return known;
  }

  /** Blanks, and then what `signs` takes. */
  #between(key: string, blanks: number, behind: Place, signs: (byte: number) => readonly Place[], more: { deeper?: boolean } = {}): Place {
    return this.#place(`${key} ${blanks}`, behind, (byte) => (isBlank(byte) ? (blanks < mostBlanks ? [this.#between(key, blanks + 1, behind, signs, more)] : []) : signs(byte)), more);
  }

  #value(node: Node, blanks: number, behind: Place): Place {
    return this.#between(`value ${this.#idOf(node)}`, blanks, behind, (byte) => this.#begin(node, byte, behind));
  }

  /** A value's first byte. */
  #begin(node: Node, byte: number, behind: Place): readonly Place[] {
    switch (node.kind) {
      case "reference":
        return this.#begin(node.resolve(), byte, behind);
      case "options":
        return node.options.flatMap((option) => this.#begin(option, byte, behind));
      case "literal":
        return byte === node.bytes[0] ? [this.#literal(node.bytes, 1, behind)] : [];
      case "string":
        return byte === quote ? [this.#string(behind)] : [];
      case "number":
        return this.#beginNumber(byte, node.integer, behind);
      case "array":
        return byte === code("[") ? [this.#array(node, 0, true, behind)] : [];
      case "object":
        return byte === code("{") ? [this.#object(node, 0, true, behind)] : [];
      case "any":
        return this.#beginAny(node, byte, behind);
    }
  }

  #beginAny(node: Node, byte: number, behind: Place): readonly Place[] {
    if (byte === quote) return [this.#string(behind)];
    for (const text of Object.values(texts)) if (byte === text[0]) return [this.#literal(text, 1, behind)];
    if (behind.depth < mostDepth && byte === code("[")) return [this.#array({ kind: "array", items: node, least: 0, most: Infinity }, 0, true, behind, "any")];
    if (behind.depth < mostDepth && byte === code("{")) return [this.#object({ kind: "object", properties: [], extra: node }, 0, true, behind, "any")];
    return this.#beginNumber(byte, false, behind);
  }

  #literal(bytes: Uint8Array, at: number, behind: Place): Place {
    if (at === bytes.length) return behind;
    return this.#place(`literal ${Buffer.from(bytes).toString("latin1")} ${at}`, behind, (byte) => (byte === bytes[at] ? [this.#literal(bytes, at + 1, behind)] : []));
  }

  #string(behind: Place): Place {
    const inside = (byte: number): readonly Place[] => {
      if (byte === quote) return [behind];
      if (byte === backslash) return [this.#place("escape", behind, (next) => (escaped.has(next) ? [this.#string(behind)] : next === code("u") ? [this.#hex(4, behind)] : []))];
      if (byte < 0x20) return [];
      if (byte < 0x80) return [this.#string(behind)];
      const following = utf8(byte);
      return following === null ? [] : [this.#rest(...following, behind)];
    };
    return this.#place("string", behind, inside, { inString: true });
  }

  #hex(left: number, behind: Place): Place {
    return left === 0 ? this.#string(behind) : this.#place(`hex ${left}`, behind, (byte) => (isHex(byte) ? [this.#hex(left - 1, behind)] : []));
  }

  /** The further bytes of a character. */
  #rest(least: number, most: number, left: number, behind: Place): Place {
    return left === 0 ? this.#string(behind) : this.#place(`rest ${least} ${most} ${left}`, behind, (byte) => (byte >= least && byte <= most ? [this.#rest(0x80, 0xbf, left - 1, behind)] : []));
  }

  #beginNumber(byte: number, integer: boolean, behind: Place): readonly Place[] {
    if (byte === minus) return [this.#number("minus", 0, integer, behind)];
    if (!isDigit(byte)) return [];
    return [this.#number(byte === 0x30 ? "zero" : "whole", 1, integer, behind)];
  }

  #number(phase: NumberPhase, digits: number, integer: boolean, behind: Place): Place {
    const to = (next: NumberPhase, count: number) => [this.#number(next, count, integer, behind)];
    const further = (byte: number): readonly Place[] => {
      const isE = (byte | 0x20) === code("e");
      if (phase === "minus") return isDigit(byte) ? to(byte === 0x30 ? "zero" : "whole", 1) : [];
      if (phase === "point") return isDigit(byte) ? to("fraction", 1) : [];
      if (phase === "e" || phase === "sign") return isDigit(byte) ? to("exponent", 1) : phase === "e" && (byte === minus || byte === code("+")) ? to("sign", 0) : [];
      if (phase === "exponent") return isDigit(byte) && digits < 2 ? to("exponent", digits + 1) : [];
      if (isDigit(byte)) return phase !== "zero" && digits < mostDigits ? to(phase, digits + 1) : [];
      if (integer) return [];
      if (byte === point && phase !== "fraction") return to("point", 0);
      return isE ? to("e", 0) : [];
    };
    const mayEnd = numberEnds.has(phase);
    return this.#place(`number ${phase} ${digits} ${integer}`, behind, (byte) => [...further(byte), ...(mayEnd ? behind.step(byte) : [])], { mayEnd });
  }

  /** @param first nothing of it has been written; @param name what it is called where there are many of the same */
  #array(node: Extract<Node, { kind: "array" }>, count: number, first: boolean, behind: Place, name: string | number = this.#idOf(node)): Place {
    const items = (byte: number) => this.#begin(node.items, byte, this.#array(node, count + 1, false, behind, name));
    const close = (byte: number) => (byte === code("]") && count >= node.least ? [behind] : []);
    // Counted only as far as it matters, so that a long list does not make a new state with each item.
    const counted = node.least === 0 && node.most === Infinity ? Math.min(count, 1) : node.most === Infinity ? Math.min(count, node.least) : count;
    const key = `array ${name} ${counted} ${first}`;
    if (first) return this.#between(key, 0, behind, (byte) => [...close(byte), ...(node.most > 0 ? items(byte) : [])], { deeper: true });
    return this.#between(key, 0, behind, (byte) => (byte === comma && count < node.most ? [this.#between(`${key} item`, 0, behind, items, { deeper: true })] : close(byte)), { deeper: true });
  }

  /** @param from the first property that may still come */
  #object(node: Extract<Node, { kind: "object" }>, from: number, first: boolean, behind: Place, name: string | number = this.#idOf(node)): Place {
    const required = node.properties.findIndex((property, at) => at >= from && property.required);
    const last = required < 0 ? node.properties.length : required + 1;
    const names = (byte: number): readonly Place[] => {
      if (byte !== quote) return [];
      if (node.extra !== null) return [this.#string(this.#colon(node.extra, behind, `object ${name}`, () => this.#object(node, from, false, behind, name)))];
      return node.properties.slice(from, last).map((property, at) =>
        this.#literal(property.name, 1, this.#colon(property.value, behind, `object ${name} ${from + at}`, () => this.#object(node, from + at + 1, false, behind, name))),
      );
    };
    const close = (byte: number) => (byte === code("}") && required < 0 ? [behind] : []);
    const key = `object ${name} ${from} ${first}`;
    if (first) return this.#between(key, 0, behind, (byte) => [...close(byte), ...names(byte)], { deeper: true });
    const more = node.extra !== null || last > from;
    return this.#between(key, 0, behind, (byte) => (byte === comma && more ? [this.#between(`${key} name`, 0, behind, names, { deeper: true })] : close(byte)), { deeper: true });
  }

  #colon(value: Node, behind: Place, key: string, next: () => Place): Place {
    return this.#between(`${key} colon`, 0, behind, (byte) => (byte === colon ? [this.#value(value, 0, next())] : []), { deeper: true });
  }
}
