/**
 * Keeps an answer to JSON while it is written: before each draw the tokens that can't come are ruled out. The text parses when it is complete; when tokens run out
 * before, its end is missing. Which tokens may come in a state is worked out once, for all answers of the same form.
 */
import { EverloraError } from "../../errors/errors.ts";
import { Machine, type State } from "./machine.ts";
import { anyObject, compileSchema, type Node } from "./schema.ts";
import { jsonVocabulary, type JsonVocabulary } from "./vocabulary.ts";

export type JsonForm = { readonly type: "json_object" } | { readonly type: "json_schema"; readonly schema: unknown };

/** States whose tokens are kept (a byte for each token of the vocabulary); the oldest go first. */
const keptMasks = 256;
/** Forms that are kept, and the places in one after which it begins anew. */
const keptForms = 32;
const mostPlaces = 100_000;

/** The forms that have been asked for, and what has been worked out for them. One for each tokenizer. */
export class JsonForms {
  readonly #vocabulary: () => JsonVocabulary;
  readonly #endTokens: readonly number[];
  readonly #forms = new Map<string, Form>();
  #made: JsonVocabulary | undefined;

  constructor(bytes: () => readonly (Uint8Array | null)[], endTokens: readonly number[]) {
    this.#vocabulary = () => (this.#made ??= jsonVocabulary(bytes()));
    this.#endTokens = endTokens;
  }

  /** @throws EverloraError invalid_request where a schema asks for what can't be kept to */
  constraint(form: JsonForm): JsonConstraint {
    const key = JSON.stringify(form);
    const known = this.#forms.get(key);
    this.#forms.delete(key);
    const kept = known !== undefined && known.size < mostPlaces ? known : new Form(form.type === "json_object" ? anyObject : compileSchema(form.schema), this.#vocabulary(), this.#endTokens);
    this.#forms.set(key, kept);
    const [oldest] = this.#forms.keys();
    if (this.#forms.size > keptForms && oldest !== undefined) this.#forms.delete(oldest);
    return new JsonConstraint(kept);
  }
}

class Form {
  readonly #machine: Machine;
  readonly #vocabulary: JsonVocabulary;
  readonly #endTokens: readonly number[];
  readonly #masks = new Map<State, Uint8Array>();

  constructor(root: Node, vocabulary: JsonVocabulary, endTokens: readonly number[]) {
    this.#machine = new Machine(root);
    this.#vocabulary = vocabulary;
    this.#endTokens = endTokens;
  }

  get start(): State {
    return this.#machine.start;
  }

  get size(): number {
    return this.#machine.size;
  }

  after(state: State, token: number): State {
    const next = this.#walk(state, token);
    if (next === null) throw new EverloraError("engine_failed", `Token ${token} was drawn where the response format does not allow it.`);
    return next;
  }

  /** By token id, 1 where it may come. */
  mask(state: State): Uint8Array {
    const known = this.#masks.get(state);
    if (known !== undefined) return known;
    const mask = this.#makeMask(state);
    this.#masks.set(state, mask);
    const [oldest] = this.#masks.keys();
    if (this.#masks.size > keptMasks && oldest !== undefined) this.#masks.delete(oldest);
    return mask;
  }

  #makeMask(state: State): Uint8Array {
    const { bytes, plain, all, rough } = this.#vocabulary;
    const mask = state.inString ? plain.slice() : new Uint8Array(bytes.length);
    const lists = state.inString ? rough : all;
    for (let first = 0; first < 256; first++) {
      if (state.step(first) === null) continue;
      for (const token of lists[first] ?? []) if (this.#walk(state, token) !== null) mask[token] = 1;
    }
    if (state.mayEnd) for (const token of this.#endTokens) mask[token] = 1;
    return mask;
  }

  #walk(state: State, token: number): State | null {
    let at: State | null = state;
    for (const byte of this.#vocabulary.bytes[token] ?? []) {
      at = at.step(byte);
      if (at === null) return null;
    }
    return at;
  }
}

/** Of one answer. */
export class JsonConstraint {
  readonly #form: Form;
  #state: State;

  constructor(form: Form) {
    this.#form = form;
    this.#state = form.start;
  }

  /** Nothing more can come. */
  get complete(): boolean {
    return this.#state.complete;
  }

  /** Rules out, in place, what may not come. @throws EverloraError engine_failed when no token can go on */
  restrict(logits: Float32Array): void {
    const mask = this.#form.mask(this.#state);
    let left = 0;
    for (let token = 0; token < logits.length; token++) {
      if (mask[token] === 1) left++;
      else logits[token] = -Infinity;
    }
    if (left === 0) throw new EverloraError("engine_failed", "The model's vocabulary has no token that the response format allows here.");
  }

  accept(token: number): void {
    this.#state = this.#form.after(this.#state, token);
  }
}
