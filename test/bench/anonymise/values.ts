/** Made-up values of every kind, in the ways in which people and programs write them. Check digits are worked out here and not by the code under test. */

export type Random = () => number;

/** mulberry32: small, and the same on every machine. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const pick = <T>(random: Random, from: readonly [T, ...T[]]): T => from[Math.floor(random() * from.length)] ?? from[0];
const digits = (random: Random, count: number) => Array.from({ length: count }, () => Math.floor(random() * 10));
const text = (numbers: readonly number[]) => numbers.join("");
const letters = (random: Random, count: number, of = "ABCDEFGHJKLMNPQRSTUVWXYZ") => Array.from({ length: count }, () => of[Math.floor(random() * of.length)] ?? "A").join("");
const between = (random: Random, least: number, most: number) => least + Math.floor(random() * (most - least + 1));
const two = (number: number) => String(number).padStart(2, "0");
const sum = (numbers: readonly number[], weights: readonly number[]) => numbers.reduce((total, number, at) => total + number * (weights[at] ?? 0), 0);
/** Brazilian mod 11. */
const eleven = (total: number) => (total % 11 < 2 ? 0 : 11 - (total % 11));

function cpf(random: Random): string {
  const body = digits(random, 9);
  const first = eleven(sum(body, [10, 9, 8, 7, 6, 5, 4, 3, 2]));
  const second = eleven(sum([...body, first], [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]));
  const bare = text([...body, first, second]);
  const dotted = `${bare.slice(0, 3)}.${bare.slice(3, 6)}.${bare.slice(6, 9)}-${bare.slice(9)}`;
  return pick(random, [dotted, dotted, bare, `${bare.slice(0, 3)} ${bare.slice(3, 6)} ${bare.slice(6, 9)} ${bare.slice(9)}`, `${bare.slice(0, 9)}-${bare.slice(9)}`, `${dotted.slice(0, -1)}${(second + 1) % 10}`]);
}

function cnpj(random: Random): string {
  const body = pick(random, [() => `${text(digits(random, 8))}0001`, () => `${text(digits(random, 2))}${letters(random, 3)}${text(digits(random, 3))}01${letters(random, 2)}`])();
  const numbers = Array.from(body, (character) => character.charCodeAt(0) - 48);
  const first = eleven(sum(numbers, [5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]));
  const second = eleven(sum([...numbers, first], [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]));
  const bare = `${body}${first}${second}`;
  return pick(random, [`${bare.slice(0, 2)}.${bare.slice(2, 5)}.${bare.slice(5, 8)}/${bare.slice(8, 12)}-${bare.slice(12)}`, `${bare.slice(0, 2)}.${bare.slice(2, 5)}.${bare.slice(5, 8)}/${bare.slice(8, 12)}-${bare.slice(12)}`, bare]);
}

function cns(random: Random): string {
  for (;;) {
    const numbers = [pick(random, [7, 8, 9]), ...digits(random, 14)];
    if (sum(numbers, [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]) % 11 !== 0) continue;
    const bare = text(numbers);
    return pick(random, [bare, `${bare.slice(0, 3)} ${bare.slice(3, 7)} ${bare.slice(7, 11)} ${bare.slice(11)}`]);
  }
}

function pis(random: Random): string {
  const body = digits(random, 10);
  const bare = `${text(body)}${eleven(sum(body, [3, 2, 9, 8, 7, 6, 5, 4, 3, 2]))}`;
  return pick(random, [bare, `${bare.slice(0, 3)}.${bare.slice(3, 8)}.${bare.slice(8, 10)}-${bare.slice(10)}`]);
}

function card(random: Random): string {
  const [prefix, length] = pick<readonly [string, number]>(random, [["4", 16], ["51", 16], ["5502", 16], ["37", 15]]);
  const numbers = [...Array.from(prefix, Number), ...digits(random, length - prefix.length - 1)];
  let total = 0;
  for (const [at, number] of [...numbers].reverse().entries()) total += at % 2 === 0 ? (number * 2 > 9 ? number * 2 - 9 : number * 2) : number;
  const bare = `${text(numbers)}${(10 - (total % 10)) % 10}`;
  const groups = length === 15 ? [bare.slice(0, 4), bare.slice(4, 10), bare.slice(10)] : [bare.slice(0, 4), bare.slice(4, 8), bare.slice(8, 12), bare.slice(12)];
  return pick(random, [bare, groups.join(" "), groups.join(" "), groups.join("-")]);
}

function iban(random: Random): string {
  const [country, body] = pick<readonly [string, string]>(random, [["DE", text(digits(random, 18))], ["GB", `${letters(random, 4)}${text(digits(random, 14))}`], ["PT", text(digits(random, 21))], ["FR", text(digits(random, 23))]]);
  let remainder = 0n;
  for (const character of `${body}${country}00`) remainder = BigInt(`${remainder}${/\d/.test(character) ? character : character.charCodeAt(0) - 55}`) % 97n;
  const whole = `${country}${String(98n - remainder).padStart(2, "0")}${body}`;
  return pick(random, [whole, whole.replace(/(.{4})(?=.)/g, "$1 ")]);
}

function nhs(random: Random): string {
  for (;;) {
    const body = digits(random, 9);
    const check = (11 - (sum(body, [10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11)) % 11;
    if (check === 10) continue;
    const bare = `${text(body)}${check}`;
    return pick(random, [bare, `${bare.slice(0, 3)} ${bare.slice(3, 6)} ${bare.slice(6)}`]);
  }
}

/** Nothing is tuned on the names of the held-out half, either. */
const heldOutGiven = ["Luíza", "Gustavo", "Renata", "Thiago", "Camila", "Bruno", "Larissa", "Diego", "Sarah", "William", "Arjun", "Jurema", "Adroaldo", "Svetlana", "Chidi", "Rosicleide", "Kofi", "Leopoldina", "Anselmo", "Mei", "Clara", "Noah", "Edna", "Jeferson", "Ruth", "Odair"] as const;
const heldOutFamily = ["Costa", "Ferreira", "Rodrigues", "Barbosa", "Peixoto", "Vasconcelos", "Bragança", "McCarthy", "Williams", "Adeyemi", "Nakamura", "Bortolini", "Brown", "dos Reis", "de Castro", "da Rocha", "Schneider", "Tavares", "Gonzalez", "Nowak"] as const;
const given = ["Ana", "João", "Maria", "Pedro", "Beatriz", "Carlos", "Fernanda", "Rafael", "Juliana", "Marcos", "Emily", "James", "Priya", "Zuleica", "Ediberto", "Oksana", "Thandiwe", "Valdirene", "Kwame", "Guilhermina", "Tarcísio", "Ines", "Sofia", "Liam", "Noemi", "Wanderson"] as const;
const family = ["Silva", "Souza", "Oliveira", "Pereira", "Nogueira", "Quaresma", "Lacerda", "O'Brien", "Johnson", "Okafor", "Takahashi", "Zampieri", "Smith", "dos Santos", "de Almeida", "da Conceição", "Brandt", "Figueiroa", "Martinez", "Kowalski"] as const;
type Words = readonly [string, ...string[]];
const nameFrom = (first: Words, last: Words) => (random: Random) => pick(random, [`${pick(random, first)} ${pick(random, last)}`, `${pick(random, first)} ${pick(random, last)}`, `${pick(random, first)} ${pick(random, first)} ${pick(random, last)}`, pick(random, first)]);
const plain = (word: string) => word.normalize("NFD").replace(/[^A-Za-z]/g, "").toLowerCase();

function email(random: Random): string {
  const who = plain(pick(random, given));
  const of = plain(pick(random, family));
  return `${pick(random, [`${who}.${of}`, `${who}${of}${between(random, 1, 99)}`, `${who}_${of}`, `${who}+lista`, `${who.slice(0, 1)}.${of}-${two(between(random, 1, 99))}`])}@${pick(random, ["gmail.com", "example.com.br", "mail.example.org", "uol.com.br", "empresa.example.net", "hospital-sul.org.br"])}`;
}

function phone(random: Random): string {
  const area = pick(random, ["11", "21", "31", "41", "51", "61", "71", "81", "85", "92"]);
  const last = text(digits(random, 4));
  const mobile = `9${between(random, 6000, 9999)}`;
  const fixed = `${between(random, 2, 5)}${text(digits(random, 3))}`;
  return pick(random, [`(${area}) ${mobile}-${last}`, `(${area})${mobile}-${last}`, `${area} ${mobile}-${last}`, `${area}${mobile}${last}`, `+55 ${area} ${mobile}-${last}`, `+55${area}${mobile}${last}`, `(${area}) ${fixed}-${last}`, `${area} ${mobile} ${last}`, `+1 (415) 555-${last}`, `(212) 555-${last}`, `+44 7700 900${text(digits(random, 3))}`, `+351 912 345 ${text(digits(random, 3))}`]);
}

const monthsPt = ["janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro", "novembro", "dezembro"] as const;
const monthsEn = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"] as const;

function date(random: Random): string {
  const day = between(random, 1, 28);
  const month = between(random, 1, 12);
  const year = between(random, 1938, 2025);
  return pick(random, [`${two(day)}/${two(month)}/${year}`, `${two(day)}/${two(month)}/${year}`, `${day}/${month}/${year}`, `${two(day)}/${two(month)}/${two(year % 100)}`, `${two(day)}-${two(month)}-${year}`, `${two(day)}.${two(month)}.${year}`, `${year}-${two(month)}-${two(day)}`, `${day} de ${pick(random, monthsPt)} de ${year}`, `${pick(random, monthsEn)} ${day}, ${year}`, `${day} ${pick(random, monthsEn).slice(0, 3)} ${year}`]);
}

const streets = ["Rua das Acácias", "Av. Brasil", "Avenida Getúlio Vargas", "Travessa do Comércio", "Rua Doutor João Ribeiro", "Alameda dos Anjos", "R. 15 de Novembro", "Praça da República", "Rodovia Anhanguera", "Estrada do Coco"] as const;
const streetsEn = ["Maple Street", "Oak Avenue", "Queen Victoria Road", "Baker Street", "Sunset Blvd", "Old Mill Lane", "Riverside Drive"] as const;
const address = (random: Random) => pick(random, [() => `${pick(random, streets)}, ${between(random, 2, 4800)}`, () => `${pick(random, streets)}, nº ${between(random, 2, 4800)}`, () => `${pick(random, streets)}, ${between(random, 2, 4800)}, apto ${between(random, 1, 999)}`, () => `${pick(random, streets)} ${between(random, 2, 990)}, casa ${between(random, 1, 9)}`, () => `${between(random, 2, 9900)} ${pick(random, streetsEn)}`, () => `${between(random, 2, 9900)} ${pick(random, streetsEn)}, Apt ${between(random, 1, 40)}${letters(random, 1)}`])();

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const hex = (random: Random, count: number) => letters(random, count, "0123456789abcdef");
const withDigit = (random: Random, count: number) => `${letters(random, count - 1, alphanumeric)}${between(random, 0, 9)}`;

export const values: Readonly<Record<string, (random: Random) => string>> = {
  CPF: cpf,
  CNPJ: cnpj,
  CNS: cns,
  PIS: pis,
  CARTAO: card,
  IBAN: iban,
  NHS: nhs,
  NOME: nameFrom(given, family),
  EMAIL: email,
  TELEFONE: phone,
  DATA: date,
  ENDERECO: address,
  RG: (random) => pick(random, [`${between(random, 10, 59)}.${text(digits(random, 3))}.${text(digits(random, 3))}-${pick(random, [between(random, 0, 9), between(random, 0, 9), "X"])}`, `${between(random, 1, 9)}.${text(digits(random, 3))}.${text(digits(random, 3))}`, `MG-${between(random, 10, 19)}.${text(digits(random, 3))}.${text(digits(random, 3))}`, `${between(random, 1, 9)}${text(digits(random, 6))}`]),
  CNH: (random) => `0${text(digits(random, 10))}`,
  TITULO_ELEITOR: (random) => pick(random, [`${text(digits(random, 4))} ${text(digits(random, 4))} ${text(digits(random, 4))}`, text(digits(random, 12))]),
  CEP: (random) => pick(random, [`${between(random, 10, 99)}${text(digits(random, 3))}-${text(digits(random, 3))}`, `${between(random, 10, 99)}.${text(digits(random, 3))}-${text(digits(random, 3))}`, `${between(random, 10, 99)}${text(digits(random, 6))}`]),
  PROCESSO: (random) => pick(random, [`${text(digits(random, 7))}-${text(digits(random, 2))}.${between(random, 1999, 2025)}.8.${two(between(random, 1, 27))}.${text(digits(random, 4))}`, `${text(digits(random, 7))}${text(digits(random, 2))}${between(random, 1999, 2025)}8${two(between(random, 1, 27))}${text(digits(random, 4))}`]),
  PLACA: (random) => pick(random, [`${letters(random, 3)}${between(random, 0, 9)}${letters(random, 1)}${text(digits(random, 2))}`, `${letters(random, 3)}-${text(digits(random, 4))}`, `${letters(random, 3)}${text(digits(random, 4))}`]),
  PIX: (random) => `${hex(random, 8)}-${hex(random, 4)}-4${hex(random, 3)}-a${hex(random, 3)}-${hex(random, 12)}`,
  SSN: (random) => pick(random, [`${between(random, 100, 599)}-${two(between(random, 1, 99))}-${between(random, 1000, 9999)}`, `${between(random, 100, 599)}${two(between(random, 1, 99))}${between(random, 1000, 9999)}`]),
  PASSAPORTE: (random) => pick(random, [`${letters(random, 2)}${text(digits(random, 6))}`, text([between(random, 1, 9), ...digits(random, 8)])]),
  PACIENTE_ID: (random) => pick(random, [text([between(random, 1, 9), ...digits(random, 6)]), `${text([between(random, 1, 9), ...digits(random, 4)])}-${between(random, 0, 9)}`, `P-${text(digits(random, 5))}`, `${between(random, 10, 99)}-${text(digits(random, 5))}`]),
  IP: (random) => pick(random, [`${between(random, 1, 126)}.${between(random, 0, 255)}.${between(random, 0, 255)}.${between(random, 1, 254)}`, `192.168.${between(random, 0, 9)}.${between(random, 2, 254)}`, `2001:db8:${hex(random, 4)}::${hex(random, 4)}:${hex(random, 3)}1`, `2001:db8:${hex(random, 4)}:${hex(random, 4)}:${hex(random, 4)}:${hex(random, 4)}:${hex(random, 4)}:${hex(random, 4)}`]),
  CREDENCIAL: (random) => `${pick(random, ["admin", "app_user", "deploy", "joana"])}:${withDigit(random, between(random, 8, 18))}`,
  CHAVE_API: (random) => pick(random, [`sk-proj-${withDigit(random, 32)}`, `ghp_${withDigit(random, 36)}`, `AKIA${letters(random, 16)}`, `xoxb-${text(digits(random, 11))}-${withDigit(random, 24)}`, `glpat-${withDigit(random, 20)}`, `sk_live_${withDigit(random, 24)}`, `hf_${withDigit(random, 34)}`, `eyJhbGciOiJIUzI1NiJ9.${withDigit(random, 40)}.${withDigit(random, 43)}`]),
  SENHA: (random) => pick(random, [`${pick(random, ["Gato", "Verao", "Casa", "Summer", "Tiger"])}${pick(random, ["@", "#", "!", "_"])}${between(random, 10, 2025)}`, withDigit(random, 10), `${letters(random, 3)}${letters(random, 4, "abcdefghijk")}${text(digits(random, 3))}!`]),
  MAC: (random) => pick(random, [Array.from({ length: 6 }, () => hex(random, 2)).join(":"), Array.from({ length: 6 }, () => hex(random, 2).toUpperCase()).join("-")]),
  REGISTRO: (random) => pick(random, [`CRM-SP ${between(random, 10000, 199999)}`, `CRM/RJ ${between(random, 10000, 99999)}`, `OAB/MG ${between(random, 10, 199)}.${text(digits(random, 3))}`, `OAB/SP ${between(random, 100000, 499999)}`, `COREN-SP ${between(random, 100000, 499999)}`]),
  PEDIDO: (random) => pick(random, [`#${text([between(random, 1, 9), ...digits(random, 7)])}`, `BR-${between(random, 2021, 2025)}-${text(digits(random, 5))}`, `nº ${text([between(random, 1, 9), ...digits(random, 6)])}`]),
  CONTA: (random) => pick(random, [`${text(digits(random, 4))}-${between(random, 0, 9)}`, `${text([between(random, 1, 9), ...digits(random, 4)])}-${between(random, 0, 9)}`]),
};

/** The same with other names. */
export const heldOutValues: typeof values = { ...values, NOME: nameFrom(heldOutGiven, heldOutFamily) };
