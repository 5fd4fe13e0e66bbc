/**
 * Replaces personal data by typed placeholders, [CPF], in a whole conversation. What is recognised in one place is replaced in every other place of the
 * same conversation too: "me chamo Ana Souza" makes the "Ana" of the answer a name. Fails closed: whatever goes wrong is an error, and an error
 * means that nothing may be kept.
 */
import { sha256, type Message } from "../events/conversation.ts";
import { findNames, isNameByLabel, nameParts, partsOfName } from "./names.ts";
import { saint } from "./names_context.ts";
import { normaliseText } from "./normalise.ts";
import { isWithinWord } from "./characters.ts";
import { createMatcher, type Matcher } from "./matcher.ts";
import type { Found, Recogniser } from "./recogniser.ts";
import { recognisers as bundled } from "./recognisers/recognisers.ts";
import { joinOverlaps, replaceSpans } from "./spans.ts";
import type { Surrogates } from "./surrogates.ts";
import { walkConversation, type Walked } from "./walk.ts";

/** Something personal may be left, or the anonymiser failed: keep nothing. The message never quotes a text. */
export class PersonalDataError extends Error {
  override readonly name = "PersonalDataError";
}

export interface Anonymised extends Walked {
  /** How many of each kind were replaced. */
  readonly counts: Record<string, number>;
}

export interface Anonymiser {
  /** @throws PersonalDataError */
  conversation(conversation: { messages: readonly Message[]; tools?: readonly Record<string, unknown>[] | undefined }): Anonymised;
  /** One text on its own, such as a key or a model's name; what is invisible or only looks different (normaliseText) is mended first. @throws PersonalDataError */
  text(text: string): { text: string; counts: Record<string, number> };
  /** Where in one text something personal stands, in order, without overlaps: what `text` would replace first. @throws PersonalDataError */
  find(text: string): readonly Found[];
}

/** Shorter values are too common to be replaced wherever they stand. */
const shortestKnown = 3;

/** @param recognisers the bundled ones, or loadRecognisers' @param surrogates made-up values instead of placeholders */
export function createAnonymiser(recognisers: readonly Recogniser[] = bundled, surrogates?: Surrogates): Anonymiser {
  const matcher = createMatcher(recognisers, nameParts);
  const conversation: Anonymiser["conversation"] = (given) => failingClosed(() => (surrogates === undefined ? anonymise(given, matcher) : withSurrogates(given, matcher, surrogates)));
  return {
    conversation,
    find: (text) => failingClosed(() => joinOverlaps(findAll(text, 0, matcher))),
    text: (text) => {
      const { messages, counts } = conversation({ messages: [{ role: "user", content: normaliseText(text) }] });
      const content = messages[0]?.content;
      if (typeof content !== "string") throw new PersonalDataError("the anonymiser lost a text");
      return { text: content, counts };
    },
  };
}

/** An error's own message may quote what it stumbled over. */
function failingClosed<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof PersonalDataError) throw error;
    throw new PersonalDataError(`the anonymiser failed: ${error instanceof Error ? error.name : typeof error}`);
  }
}

type Given = Parameters<Anonymiser["conversation"]>[0];

/** With numbered placeholders first, so that nothing made up is taken for personal again; each is then filled with its surrogate. */
function withSurrogates(given: Given, matcher: Matcher, surrogates: Surrogates): Anonymised {
  const numbers = new Map<string, string>();
  const values = new Map<string, { kind: string; value: string }>();
  const numbered = (kind: string, value: string) => {
    const key = JSON.stringify([kind, value]);
    const placeholder = numbers.get(key) ?? `[${kind}_${numbers.size + 1}]`;
    numbers.set(key, placeholder);
    values.set(placeholder, { kind, value });
    return placeholder;
  };
  const { counts, ...clean } = anonymise(given, matcher, numbered);
  const conversation = sha256(JSON.stringify(given.messages));
  const fill = (text: string) =>
    text.replace(/\[[A-Z][A-Z0-9_]{1,28}\]/g, (placeholder) => {
      const known = values.get(placeholder);
      return known === undefined ? placeholder : surrogates.of(conversation, known.kind, known.value);
    });
  return { ...walkConversation(clean, fill), counts };
}

function anonymise(given: Given, matcher: Matcher, placeholder: (kind: string, value: string) => string = (kind) => `[${kind}]`): Anonymised {
  const counts: Record<string, number> = {};
  const known = new Map<string, string>();
  // A text is looked at twice, to learn what is in the conversation and to replace it; what was found in it stays the same.
  const remembered = new Map<string, readonly Found[]>();
  const findIn = (whole: string, from: number): readonly Found[] => {
    // Most texts have no label before them, and are long: no key is written for them. A label always begins with a letter or digit.
    const key = from === 0 ? whole : `\0${from} ${whole}`;
    const found = remembered.get(key) ?? findAll(whole, from, matcher);
    remembered.set(key, found);
    return found;
  };
  walkConversation(given, (text, label) => {
    const prefix = prefixOf(label);
    for (const { start, end, kind } of findIn(prefix + text, prefix.length)) remember(known, (prefix + text).slice(start, end), kind);
    return text;
  });
  if (known.size === 0 && Array.from(remembered.values()).every((found) => found.length === 0)) return { ...walkConversation(given, (text) => text), counts };
  const replace = (text: string, label: string): string => {
    const prefix = prefixOf(label);
    const whole = prefix + text;
    const found = [...findIn(whole, prefix.length), ...findKnown(whole, prefix.length, known)];
    if (found.length === 0) return text;
    return replaceSpans(whole, joinOverlaps(found), (kind, value) => {
      counts[kind] = (counts[kind] ?? 0) + 1;
      return placeholder(kind, value);
    }).slice(prefix.length);
  };
  let result = walkConversation(given, replace);
  // What stands between two placeholders may read as something new; a text that never comes to rest is not kept.
  for (let round = 0; ; round++) {
    const before = total(counts);
    result = walkConversation(result, replace);
    if (total(counts) === before) return { ...result, counts };
    if (round === 3) throw new PersonalDataError("replacing never came to an end");
  }
}

/** Findings after the label, which itself is never replaced. */
function findAll(text: string, from: number, matcher: Matcher): Found[] {
  const all: Found[] = matcher.find(text);
  const { seen } = matcher.scan;
  findNames(matcher.scan, seen[0] === 1 || seen[1] === 1 || seen[2] === 1, all);
  if (from === 0) return all;
  const found = all.filter((span) => span.end > from).map((span) => clip(span, from));
  if (isNameByLabel(text.slice(0, from - labelEnd.length), text.slice(from))) found.push({ start: from, end: text.length, kind: "NOME" });
  return found;
}

/** What was recognised in one place of the conversation, wherever else it stands as a word. */
function findKnown(text: string, from: number, known: ReadonlyMap<string, string>): Found[] {
  const found: Found[] = [];
  for (const [value, kind] of known) {
    for (let start = text.indexOf(value, from); start >= 0; start = text.indexOf(value, start + value.length)) {
      const end = start + value.length;
      if (isWithinWord(text, start - 1) || isWithinWord(text, end - 1)) continue;
      if (kind !== "NOME" || !saint.test(text.slice(Math.max(0, start - 8), start))) found.push({ start, end, kind });
    }
  }
  return found;
}

const clip = (span: Found, from: number): Found => (span.start >= from ? span : { ...span, start: from });

function remember(known: Map<string, string>, value: string, kind: string): void {
  const whole = value.trim();
  if (whole.length >= shortestKnown && !known.has(whole)) known.set(whole, kind);
  if (kind !== "NOME") return;
  for (const part of partsOfName(whole)) {
    for (const form of [part, part.toUpperCase()]) if (!known.has(form)) known.set(form, kind);
  }
}

const labelEnd = ": ";
const prefixOf = (label: string) => (label === "" ? "" : `${label}${labelEnd}`);
const total = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((sum, count) => sum + count, 0);
