/**
 * Made-up values in the place of personal ones. The same value becomes the same surrogate everywhere in one conversation and another one in the next, by an HMAC
 * under the data set's salt: no table is kept. Numbers keep their shape and have wrong check digits, so that no surrogate is somebody's.
 */
import { createHmac } from "node:crypto";
import { checkDigits } from "./check_digits.ts";

type Draw = (below: number) => number;
type Maker = (value: string, draw: Draw) => string;

export interface Surrogates {
  /** @param conversation what tells this conversation from others */
  of(conversation: string, kind: string, value: string): string;
}

/** @param salt at least 16 bytes, from a random source; who has it can test guesses of what was said */
export function createSurrogates(salt: Uint8Array): Surrogates {
  if (salt.length < 16) throw new RangeError(`a salt of ${salt.length} bytes is too short; give 16 or more`);
  const drawFor = (conversation: string, kind: string, value: string): Draw => {
    let block = Buffer.alloc(0);
    let counter = 0;
    let at = 0;
    return (below) => {
      if (at + 4 > block.length) [block, at] = [createHmac("sha256", salt).update(JSON.stringify([conversation, kind, value, counter++])).digest(), 0];
      at += 4;
      return block.readUInt32BE(at - 4) % below;
    };
  };
  return {
    of(conversation, kind, value) {
      // Each part of a name for itself: "Ana" is the same person as "Ana Souza".
      if (kind === "NOME") {
        let position = 0;
        return value.replace(/\p{L}[\p{L}\p{M}'’.-]*/gu, (word) => (/^(?:de|da|do|dos|das|e)$/i.test(word) ? word : sameCase(word, makeName(word, position++, drawFor(conversation, kind, word.toLowerCase())))));
      }
      // With and without its punctuation a number is the same one.
      const bare = value.replace(/[^\p{L}\p{N}]+/gu, "").toLowerCase();
      const made = (makers[kind] ?? sameShape)(value, drawFor(conversation, kind, bare));
      return made === value ? sameShape(value, drawFor(conversation, `${kind} again`, bare)) : made;
    },
  };
}

const first = "Alda Bento Celina Dario Elvira Fausto Gilda Horácio Ivone Jonas Lídia Mauro Nair Olavo Paula Quirino Rute Saulo Telma Valter".split(" ");
const last = "Abreu Bastos Campos Duarte Esteves Farias Guedes Holanda Leal Macedo Neves Ortiz Pinheiro Queiroz Rangel Siqueira Toledo Uchoa Viana Xavier".split(" ");
const makeName = (_word: string, position: number, draw: Draw) => (position === 0 ? first : last)[draw(20)] ?? "Alda";
const sameCase = (word: string, made: string) => (word.length > 1 && word === word.toUpperCase() ? made.toUpperCase() : made);

const letters = "abcdefghijklmnopqrstuvwxyz";

/** Digits for digits, letters for letters of the same case, signs as they are. */
const sameShape: Maker = (value, draw) =>
  value.replace(/[\p{L}\p{N}]/gu, (character) => {
    if (/\p{N}/u.test(character)) return String(draw(10));
    const letter = letters[draw(26)] ?? "x";
    return /\p{Lu}/u.test(character) ? letter.toUpperCase() : letter;
  });

const digitsOnly: Maker = (value, draw) => value.replace(/\d/g, () => String(draw(10)));

/** The same shape, and certainly nobody's number. */
const invalid = (check: (value: string) => boolean, shape: Maker = digitsOnly): Maker => (value, draw) => {
  for (;;) {
    const made = shape(value, draw);
    if (!check(made)) return made;
  }
};

const months = ["janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro", "january february march april may june july august september october november december", "jan fev mar abr mai jun jul ago set out nov dez", "jan feb mar apr may jun jul aug sep oct nov dec"].map((row) => row.split(" "));

/** Another day, month and year, each where the old one stood; the year is at most three off. */
const date: Maker = (value, draw) => {
  const shift = draw(2) === 0 ? 1 + draw(3) : -1 - draw(3);
  const parts = value.match(/\d+|\p{L}+|[^\d\p{L}]+/gu) ?? [];
  return parts
    .map((part) => {
      if (/^\d{4}$/.test(part)) return String(Number(part) + shift);
      if (/^\d{1,2}$/.test(part)) return String(1 + draw(12)).padStart(part.length, "0"); // good as a day, a month and a year of two digits
      const list = months.find((row) => row.includes(part.toLowerCase()));
      return list === undefined ? part : sameCase(part, /^\p{Lu}/u.test(part) ? capital(list[draw(12)] ?? part) : (list[draw(12)] ?? part));
    })
    .join("");
};
const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);

const makers: Readonly<Record<string, Maker>> = {
  DATA: date,
  EMAIL: (_value, draw) => `${first[draw(20)] ?? "alda"}.${last[draw(20)] ?? "leal"}${draw(90) + 10}@example.${["com", "org", "net"][draw(3)] ?? "com"}`.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase(),
  // The country's code stays, and 555 or 0000 are nobody's.
  TELEFONE: (value, draw) => value.replace(/\d(?=(?:\D*\d){0,6}\D*$)/g, () => String(draw(10))),
  ENDERECO: (_value, draw) => `Rua ${last[draw(20)] ?? "Leal"}, ${draw(2_000) + 1}`,
  IP: (value, draw) => (value.includes(":") ? `2001:db8::${draw(65_536).toString(16)}` : `203.0.113.${draw(254) + 1}`),
  CPF: invalid(checkDigits.cpf),
  CNPJ: invalid(checkDigits.cnpj, sameShape),
  CNS: invalid(checkDigits.cns),
  PIS: invalid(checkDigits.pis),
  CARTAO: invalid(checkDigits.luhn),
  IBAN: invalid(checkDigits.iban, (value, draw) => value.slice(0, 2) + digitsOnly(value.slice(2), draw)),
  NHS: invalid(checkDigits.nhs),
};
