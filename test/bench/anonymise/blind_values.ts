/** The numbers of the blind set: «KIND.style» of its sentences, with valid check digits, and what is nobody's (barcodes, hashes, numbers whose check digits are wrong). No code under test has a part in them. */
import { checkDigits } from "./blind_check_digits.ts";
import type { Random } from "./values.ts";

const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const lowers = capitals.toLowerCase();
const decimal = "0123456789";
const hexadecimal = `${decimal}abcdef`;
const mixed = capitals + lowers + decimal;
const areaCodes: readonly [string, ...string[]] = ["11", "21", "27", "31", "34", "41", "47", "51", "62", "65", "71", "81", "85", "91", "92", "98"];

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

function from(random: Random, characters: string, length: number): string {
  return Array.from({ length }, () => characters.charAt(below(random, characters.length))).join("");
}

/** "d" is a digit, "n" one that is not 0, "m" one of 2 to 9, "L" a capital, "x" a hexadecimal digit; everything else stands for itself. */
function shaped(random: Random, shape: string): string {
  const sets: Record<string, string> = { d: decimal, n: "123456789", m: "23456789", L: capitals, x: hexadecimal };
  return shape.replaceAll(/[dnmLx]/g, (mark) => from(random, sets[mark] ?? mark, 1));
}

/** Draws until the definition gives check digits and the whole is wanted. */
function withCheck(random: Random, shapes: string | (() => string), check: (digits: string) => string | undefined, isWanted: (value: string) => boolean = () => true): string {
  for (;;) {
    const digits = shaped(random, typeof shapes === "string" ? shapes : shapes());
    const last = check(digits);
    if (last !== undefined && isWanted(digits + last)) return digits + last;
  }
}

function oneOf<T>(random: Random, list: readonly [T, ...T[]]): T {
  return list[below(random, list.length)] ?? list[0];
}

/** Puts characters one after the other into the #s of a pattern. */
function laidOut(characters: string, pattern: string): string {
  let at = 0;
  return pattern.replaceAll("#", () => characters.charAt(at++));
}

function inFours(text: string): string {
  return text.replaceAll(/(.{4})(?=.)/g, "$1 ");
}

const accountShapes: Record<string, string> = {
  de: "d".repeat(18), gb: "LLLLdddddddddddddd", fr: "d".repeat(23), pt: "d".repeat(21), es: "d".repeat(20), nl: "LLLLdddddddddd", it: `L${"d".repeat(22)}`, ie: "LLLLdddddddddddddd", br: `${"d".repeat(23)}C1`,
};

function iban(random: Random, country: string): string {
  const shape = accountShapes[country];
  if (shape === undefined) throw new RangeError(`no IBAN of ${country}`);
  const account = shaped(random, shape);
  return `${country.toUpperCase()}${checkDigits.IBAN(country.toUpperCase() + account)}${account}`;
}

type Maker = (random: Random) => string;
/** One form per style; the form without a name is the ordinary way to write it. */
const numbers: Record<string, { draw: Maker; styles: Record<string, string> }> = {
  CPF: { draw: (random) => withCheck(random, "ddddddddd", checkDigits.CPF), styles: { "": "###.###.###-##", raw: "###########", dash: "#########-##", space: "### ### ### ##", slash: "###.###.###/##" } },
  CNPJ: { draw: (random) => withCheck(random, "nddddddd000n", checkDigits.CNPJ), styles: { "": "##.###.###/####-##", raw: "##############" } },
  CNPJ_ALPHA: { draw: (random) => withCheck(random, "LdLddLdLdddd", checkDigits.CNPJ), styles: { alpha: "##.###.###/####-##", alpharaw: "##############" } },
  CNS: { draw: (random) => withCheck(random, () => `${oneOf(random, [1, 2])}dddddddddd000`, checkDigits.CNS), styles: { "": "###############", space: "### #### #### ####" } },
  CNS_PROVISIONAL: { draw: (random) => withCheck(random, () => `${oneOf(random, [7, 8, 9])}ddddddddddddd`, checkDigits.CNS), styles: { prov: "###############", "prov.space": "### #### #### ####" } },
  PIS: { draw: (random) => withCheck(random, "12dddddddd", checkDigits.PIS), styles: { "": "###.#####.##-#", raw: "###########" } },
  RG: { draw: (random) => withCheck(random, "mddddddd", checkDigits.RG, (value) => !value.endsWith("X")), styles: { "": "##.###.###-#", raw: "#########" } },
  RG_X: { draw: (random) => withCheck(random, "mddddddd", checkDigits.RG, (value) => value.endsWith("X")), styles: { x: "##.###.###-#" } },
  RG_MINAS: { draw: (random) => shaped(random, "nddddddd"), styles: { mg: "MG-##.###.###" } },
  CNH: { draw: (random) => withCheck(random, "0dddddddd", checkDigits.CNH), styles: { "": "###########" } },
  RENAVAM: { draw: (random) => withCheck(random, "0nnddddddd", checkDigits.RENAVAM), styles: { "": "###########" } },
  TITULO_ELEITOR: { draw: (random) => withCheck(random, () => `dddddddd${String(3 + below(random, 25)).padStart(2, "0")}`, checkDigits.TITULO_ELEITOR), styles: { "": "############", space: "#### #### ####" } },
  CEP: { draw: (random) => shaped(random, "nddddddd"), styles: { "": "#####-###", raw: "########", dot: "##.###-###" } },
  NHS: { draw: (random) => withCheck(random, "4dddddddd", checkDigits.NHS), styles: { "": "### ### ####", raw: "##########", dash: "###-###-####" } },
  CARTAO: { draw: (random) => withCheck(random, () => `${oneOf(random, ["40", "51", "54", "50"])}ddddddddddddd`, checkDigits.CARTAO), styles: { "": "#### #### #### ####", raw: "################", dash: "####-####-####-####" } },
  CARTAO_AMEX: { draw: (random) => withCheck(random, "37dddddddddddd", checkDigits.CARTAO), styles: { amex: "#### ###### #####" } },
  SSN: { draw: (random) => `${oneOf(random, [1, 2, 3, 4, 5])}${shaped(random, "dd")}${shaped(random, "nn")}${shaped(random, "nddd")}`, styles: { "": "###-##-####", space: "### ## ####", raw: "#########" } },
  PROCESSO: { draw: caseNumber, styles: { "": "#######-##.####.#.##.####", raw: "####################" } },
  PLACA: { draw: (random) => shaped(random, "LLLdddd"), styles: { old: "###-####", oldspace: "### ####" } },
  PLACA_MERCOSUL: { draw: (random) => shaped(random, "LLLdLdd"), styles: { mercosul: "#######" } },
  PLACA_LOWER: { draw: (random) => shaped(random, "LLLdLdd").toLowerCase(), styles: { lower: "#######" } },
  MOBILE: { draw: (random) => `${oneOf(random, areaCodes)}9${shaped(random, "mddddddd")}`, styles: { "": "(##) #####-####", raw: "###########", plus: "+55 ## #####-####", e164: "+55###########", spaced: "## # #### ####", dots: "##.#####.####", split: "(##)# ####-####" } },
  LOCAL: { draw: (random) => `9${shaped(random, "mddddddd")}`, styles: { local: "#####-####" } },
  LANDLINE: { draw: (random) => `${oneOf(random, areaCodes)}3${shaped(random, "ddddddd")}`, styles: { fixo: "(##) ####-####", ddd: "## ####-####", paren0: "(0##) ####-####" } },
  NANP: { draw: (random) => `${oneOf(random, ["212", "303", "415", "512", "617", "773"])}${shaped(random, "mdddddd")}`, styles: { us: "(###) ###-####", usdash: "###-###-####", usdot: "###.###.####", usspaced: "### ### ####", uspl: "+1 ###-###-####", e164us: "+1##########" } },
  UK: { draw: (random) => shaped(random, "7700900ddd"), styles: { uk: "+44 #### ######", ukmob: "0#### ######" } },
  PASSAPORTE: { draw: (random) => shaped(random, "LLdddddd"), styles: { br: "########" } },
};

/** A style is looked for among the kind's own rows and those of its variants. */
const variants: Record<string, readonly string[]> = {
  CNPJ: ["CNPJ", "CNPJ_ALPHA"], CNS: ["CNS", "CNS_PROVISIONAL"], RG: ["RG", "RG_X", "RG_MINAS"], CARTAO: ["CARTAO", "CARTAO_AMEX"], PLACA: ["PLACA", "PLACA_MERCOSUL", "PLACA_LOWER"], TELEFONE: ["MOBILE", "LOCAL", "LANDLINE", "NANP", "UK"],
};

function caseNumber(random: Random): string {
  const number = shaped(random, "00ddddd");
  const rest = `${2008 + below(random, 19)}8${String(1 + below(random, 27)).padStart(2, "0")}${shaped(random, "0ddd")}`;
  return `${number}${checkDigits.PROCESSO(number + rest)}${rest}`;
}

/** Kinds that are not digits laid out. */
const others: Record<string, Maker> = {
  "TELEFONE.uk2": (random) => `020 7946 0${from(random, decimal, 3)}`,
  "TELEFONE.pt": (random) => `+351 91${from(random, decimal, 1)} ${from(random, decimal, 3)} ${from(random, decimal, 3)}`,
  "TELEFONE.intl": (random) => `+234 803 ${from(random, decimal, 3)} ${from(random, decimal, 4)}`,
  "PASSAPORTE.us": (random) => shaped(random, "Ldddddddd"),
  "PASSAPORTE.uk": (random) => shaped(random, "5dddddddd"),
  PIX: uuid,
  IP: (random) => `${oneOf(random, [18, 45, 52, 89, 131, 177, 186, 200])}.${below(random, 256)}.${below(random, 256)}.${1 + below(random, 254)}`,
  "IP.private": (random) => `${oneOf(random, ["192.168", "10.0"])}.${below(random, 256)}.${1 + below(random, 254)}`,
  "IP.v6": (random) => shaped(random, "2804:nxxx:xxxx::nxx"),
  "IP.v6full": (random) => shaped(random, "2a02:nxxx:nxxx:nxxx:nxxx:nxxx:nxxx:nxxx"),
  MAC: (random) => shaped(random, "xx:xx:xx:xx:xx:xx"),
  "MAC.dash": (random) => shaped(random, "xx-xx-xx-xx-xx-xx").toUpperCase(),
  "MAC.dot": (random) => shaped(random, "xxxx.xxxx.xxxx"),
  "CHAVE_API.openai": (random) => `sk-proj-${from(random, mixed, 48)}`,
  "CHAVE_API.anthropic": (random) => `sk-ant-api03-${from(random, mixed + "-_", 90)}AA`,
  "CHAVE_API.github": (random) => `ghp_${from(random, mixed, 36)}`,
  "CHAVE_API.gitlab": (random) => `glpat-${from(random, mixed, 20)}`,
  "CHAVE_API.aws": (random) => `AKIA${from(random, capitals + "234567", 16)}`,
  "CHAVE_API.awssecret": (random) => from(random, mixed + "/+", 39) + from(random, decimal, 1),
  "CHAVE_API.stripe": (random) => `sk_live_${from(random, mixed, 24)}`,
  "CHAVE_API.slack": (random) => `xoxb-${from(random, decimal, 12)}-${from(random, decimal, 12)}-${from(random, mixed, 24)}`,
  "CHAVE_API.google": (random) => `AIza${from(random, mixed + "-_", 34)}${from(random, mixed, 1)}`,
  "CHAVE_API.hf": (random) => `hf_${from(random, capitals + lowers, 34)}`,
  "CHAVE_API.npm": (random) => `npm_${from(random, mixed, 36)}`,
  "CHAVE_API.sendgrid": (random) => `SG.${from(random, mixed, 22)}.${from(random, mixed, 43)}`,
  "CHAVE_API.telegram": (random) => `${1 + below(random, 9)}${from(random, decimal, 9)}:AA${from(random, mixed, 33)}`,
  "CHAVE_API.hex": (random) => from(random, hexadecimal, 32),
  "CHAVE_API.jwt": (random) => [{ alg: "HS256", typ: "JWT" }, { sub: from(random, decimal, 8), iat: 1763600000 }].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".") + `.${from(random, mixed, 43)}`,
  ean: (random) => withCheck(random, "789ddddddddd", checkDigits.EAN),
  isbn13: (random) => laidOut(withCheck(random, "97885ddddddd", checkDigits.EAN), "###-##-####-###-#"),
  isbn10: (random) => laidOut(withCheck(random, "85ddddddd", checkDigits.ISBN10), "##-####-###-#"),
  uuid,
  sha1: (random) => from(random, hexadecimal, 40),
  sha256: (random) => from(random, hexadecimal, 64),
  epoch: (random) => shaped(random, "176ddddddd"),
  epochms: (random) => shaped(random, "176dddddddddd"),
  // Numbers of a length that means something elsewhere, with check digits of nothing. The third digit is no 9 and the first two no area code, so that none is a telephone.
  "!CPF.raw": (random) => wrong(random, "nndnddddddd", [checkDigits.CPF, checkDigits.CNH, checkDigits.PIS, checkDigits.RENAVAM]),
  "!PIS.raw": (random) => wrong(random, "10ddddddddd", [checkDigits.CPF, checkDigits.CNH, checkDigits.PIS, checkDigits.RENAVAM]),
  "!CNPJ.raw": (random) => wrong(random, "nddddddd000ndd", [checkDigits.CNPJ, checkDigits.CARTAO]),
  "!CNS": (random) => wrong(random, "7dddddddddddddd", [checkDigits.CNS, checkDigits.CARTAO]),
  "!CARTAO.raw": (random) => wrong(random, "4ddddddddddddddd", [checkDigits.CARTAO]),
  "!NHS.raw": (random) => wrong(random, "10dddddddd", [checkDigits.NHS]),
  "!SSN.sku": (random) => shaped(random, "9dddddddd"),
};

function uuid(random: Random): string {
  return shaped(random, `xxxxxxxx-xxxx-4xxx-${oneOf(random, ["8", "9", "a", "b"])}xxx-xxxxxxxxxxxx`);
}

/** A number of which the last digits are by none of the definitions those of the others. */
function wrong(random: Random, shape: string, checks: readonly ((digits: string) => string | undefined)[]): string {
  for (;;) {
    const number = shaped(random, shape);
    const isOfOne = checks.some((check) => [1, 2].some((length) => number.endsWith(check(number.slice(0, -length)) ?? "none")));
    if (!isOfOne && !(number.length === 11 && number.charAt(2) === "9")) return number;
  }
}

/** @throws RangeError where the set names a kind or style that isn't here. */
export function blindValue(name: string, random: Random): string {
  const [kind = "", ...style] = name.split(".");
  if (kind === "IBAN") return style[1] === "raw" ? iban(random, style[0] ?? "") : inFours(iban(random, style[0] ?? ""));
  const other = others[name];
  if (other !== undefined) return other(random);
  for (const variant of variants[kind] ?? [kind]) {
    const row = numbers[variant];
    const pattern = row?.styles[style.join(".")];
    if (row !== undefined && pattern !== undefined) return laidOut(row.draw(random), pattern);
  }
  throw new RangeError(`no values for ${name}`);
}
