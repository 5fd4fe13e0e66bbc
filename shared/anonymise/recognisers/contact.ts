/** How to reach a person: e-mail, telephone, postal code, street address, network address. */
import { isIPv4, isIPv6 } from "node:net";
import { around } from "../around.ts";
import { after, begin, bounded, finish, near, type Recogniser } from "../recogniser.ts";

/** Area codes that exist in Brazil. */
const areaCodes = new Set("11 12 13 14 15 16 17 18 19 21 22 24 27 28 31 32 33 34 35 37 38 41 42 43 44 45 46 47 48 49 51 53 54 55 61 62 63 64 65 66 67 68 69 71 73 74 75 77 79 81 82 83 84 85 86 87 88 89 91 92 93 94 95 96 97 98 99".split(" "));
const hasAreaCode = (value: string) => areaCodes.has(value.replace(/\D/g, "").replace(/^0/, "").slice(0, 2));
const hasDigits = (least: number, most: number) => (value: string) => {
  const count = value.replace(/\D/g, "").length;
  return count >= least && count <= most;
};
/** 0800, 1-800 and the like belong to companies. */
const isFreephone = (value: string) => /^\(?(?:0[389]00|(?:\+?1[ .-]?)?\(?8(?:00|33|44|55|66|77|88)\)?[ .-])/.test(value);

const phoneWords = near("tel|tels|telefones?|fone|celular|cel|whats(?:app)?|zap|contato|ligu?em?|ligar|ramal|recado|phones?|telephone|mobile|cell|call|text|ring|reach me|sms|fax|number is");

const usState = "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]";
const streetPt = String.raw`(?:[Rr]ua|R\.|[Aa]venida|[Aa]v\.?|[Tt]ravessa|[Tt]v\.|[Aa]lameda|[Aa]l\.|[Pp]raça|[Rr]odovia|[Ee]strada|[Ll]argo|[Vv]iela|[Vv]ila|[Cc]ondomínio|[Qq]uadra|RUA|AVENIDA|AV\.|TRAVESSA|ALAMEDA|PRAÇA|RODOVIA|ESTRADA)`;
const addressWords = near("mor[oae]|moramos|moram|resid[oe]|residente|endereço|domiciliad[oa]|vivo|entregar|entrega|entregou|mudei");
const streetWords = "rua|r|avenida|av|travessa|tv|alameda|al|praça|rodovia|estrada|largo|viela|vila|condomínio|quadra";
const properPt = String.raw`(?:(?:d[aeo]s?|e) )?[\p{Lu}\d][\p{L}\d.'’-]{0,40}`;
const houseNumber = String.raw`\d{1,6}(?:[A-Za-z])?`;
const unitPt = String.raw`(?:,? ?(?:-|–)? ?(?:[Aa]p(?:to|t)?\.?|APTO?\.?|BLOCO|CASA|SALA|QUADRA|LOTE|[Qq]d\.?|[Ll]t\.?|[Kk]m|[Cc]onj\.?|[Ll]oja|[Ss]obreloja|\d{1,2}º [Aa]ndar|[Aa]partamento|[Bb]loco|[Bb]l\.?|[Cc]asa|[Ss]ala|[Ff]undos|[Cc]onjunto|[Cc]j\.?|[Aa]ndar|[Tt]orre|[Qq]uadra|[Ll]ote)\.? ?[\p{Lu}\d]{0,6})`;
const streetEn = "Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Way|Place|Pl|Terrace|Crescent|Close|Square|Sq|Parkway|Pkwy|Highway|Hwy|Gardens|Grove|Mews|Row|Walk|Hill|Circle|Trail|Run|Pike|Cove";
const unitEn = String.raw`(?:,? (?:[Aa]pt\.?|[Aa]partment|[Ss]uite|[Uu]nit|[Ff]lat|[Ff]loor|#) ?[A-Z]?\d{0,5}[A-Z]?)`;
/** Kingsway, Broadway, Aldersgate: the street's word is part of its name; with a flat it can be nothing else. */
const oneWordEn = String.raw`(?!(?:Gate|Rail|Sub|Free|Path|Run|Air|Stair|Door)way)\p{Lu}\p{Ll}{2,20}(?:way|gate)(?=.{2,14}\d)${unitEn}`;

export const contact: readonly Recogniser[] = [
  { kind: "EMAIL", pattern: around("@", 64, /[\p{L}\p{N}_%+'’.-]/u, String.raw`[\p{L}\p{N}_%+'’.-]{1,64}@(?:[\p{L}\p{N}-]{1,63}\.){1,6}(?=[\p{N}-]{0,61}\p{L})[\p{L}\p{N}-]{2,63}`), check: (value) => !/^git@/.test(value), onlyWith: ["@"] },
  { kind: "EMAIL", pattern: bounded(String.raw`[\p{L}\p{N}._%+-]{1,64} ?[[(](?:at|arroba)[\])] ?[\p{L}\p{N}-]{1,63}(?: ?(?:\.|[[(](?:dot|ponto)[\])]) ?[\p{L}\p{N}-]{1,63}){1,4}`, "i"), onlyWith: ["[at", "(at", "[AT", "(AT", "[At", "(At", "arroba"] },
  // Telephones, from the most to the least explicit.
  { kind: "TELEFONE", pattern: new RegExp(String.raw`(?<![\p{L}\p{N}+])\+ ?\d(?:[ ().-]{0,3}\d){7,14}${finish}`, "gu"), digits: 8, lead: 2 },
  { kind: "TELEFONE", pattern: new RegExp(String.raw`(?<![\p{L}\p{N}])(?:55 ?)?\(0?\d{2}\) ?(?:9[ .]?)?\d{4}[ .-]?\d{4}${finish}`, "gu"), check: (value) => hasAreaCode(value.replace(/^55 ?/, "")), digits: 10, lead: 1 },
  { kind: "TELEFONE", pattern: bounded(String.raw`(?:55[ -]?)?0?\d{2}[ .-]?9[ .]?\d{4}[ .-]?\d{4}`), check: (value) => hasAreaCode(value) || hasAreaCode(value.replace(/^55/, "")), digits: 11 },
  { kind: "TELEFONE", pattern: bounded(String.raw`0?\d{2} [2-5]\d{3}[-. ]\d{4}`), check: hasAreaCode, digits: 10 },
  { kind: "TELEFONE", pattern: bounded(String.raw`9[ .]?\d{4}-\d{4}`), digits: 9 },
  { kind: "TELEFONE", pattern: new RegExp(String.raw`(?<![\p{L}\p{N}.-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}${finish}`, "gu"), check: (value) => !isFreephone(value), digits: 10, lead: 1 },
  { kind: "TELEFONE", pattern: bounded(String.raw`0\d{3,4} \d{3} ?\d{3,4}`), check: (value) => !isFreephone(value), digits: 8 },
  { kind: "TELEFONE", pattern: bounded(String.raw`\(?\d(?:[ ().-]{0,2}\d){6,13}`), check: (value) => hasDigits(7, 14)(value) && !isFreephone(value) && !/^(?:\d{4}-\d{2}-\d{2}|\d{1,2}[-.]\d{1,2}[-.]\d{4})$/.test(value), context: phoneWords, digits: 7, lead: 1 },
  // Addresses before postal codes: a street with its number takes the longer stretch.
  { kind: "ENDERECO", pattern: new RegExp(`${begin}${streetPt} ${properPt}(?: ${properPt}){0,7},? ?(?:n[º°o.]{1,2} ?|número |numero |nº ?)?${houseNumber}${unitPt}{0,3}${finish}`, "gu"), startsWith: streetWords },
  { kind: "ENDERECO", pattern: new RegExp(`${begin}${streetPt} ${properPt}(?: ${properPt}){0,7}(?:, ?s/nº?)?${unitPt}{1,3}(?:,? ?n[º°o.]{1,2} ?\\d{1,6})?${finish}`, "gu"), check: (value) => /,.*\d/.test(value), startsWith: streetWords },
  { kind: "ENDERECO", pattern: bounded(String.raw`(?:rua|avenida|av|travessa|alameda|praça|rodovia|estrada)\.? (?:[\p{L}.'’-]{2,20},? ){1,5}?(?:n[º°o.]{1,2} ?)?\d{1,6}(?:,? (?:ap|apto|casa|bloco|fundos)\.? ?\d{0,5})?`, "i"), context: addressWords, startsWith: streetWords },
  // Brasília has no streets.
  { kind: "ENDERECO", pattern: bounded(String.raw`(?:SQ[NSW]|SQSW|SH[A-Z]{1,2}|SC[LRN][NS]?|CL[NS]|CR[NS]|QN[A-Z]?|QS[A-Z]?|Q[EILRC]) \d{1,3}(?:,? (?:Conjunto|Conj\.?|Bloco|Bl\.?|Casa|Lote|Apto?\.?|Apartamento|Sala|Loja) [A-Z\d]{1,6}){1,4}`), startsWith: "SQ[NSW]|SH[A-Z]|SC[LRN]|CL[NS]|CR[NS]|QN[A-Z]?|QS[A-Z]?|QE|QI|QL|QR|QC" },
  { kind: "ENDERECO", pattern: new RegExp(`${begin}${streetPt} ${properPt}(?: ${properPt}){0,7}`, "gu"), context: addressWords, startsWith: streetWords },
  { kind: "ENDERECO", pattern: bounded(String.raw`(?:\d{1,3}/)?\d{1,6}[A-Za-z]? (?:(?:[NSEW]\.? )?(?:(?:\p{Lu}[\p{L}.'’-]{0,30}|\d{1,3}(?:st|nd|rd|th)) ){1,4}(?:${streetEn})\.?${unitEn}?|${oneWordEn})`), digits: 1 },
  { kind: "ENDERECO", pattern: bounded(String.raw`\d{1,6}[a-z]? (?:[\p{L}'’-]{2,20} ){1,3}(?:street|avenue|ave|road|lane|drive|boulevard|blvd|court|terrace|crescent)`, "i"), context: near("address|lives? at|lived at|moved to|shipped to|ship to|delivered to|deliver to|mail(?:ed)? to|send it to|staying at"), digits: 1 },
  { kind: "ENDERECO", pattern: bounded(String.raw`P\.?O\.? Box \d{1,7}|[Cc]aixa [Pp]ostal \d{1,7}`), startsWith: "P|PO|Caixa" },
  { kind: "CEP", pattern: bounded(String.raw`\d{2}\.?\d{3}-\d{3}`), digits: 8 },
  { kind: "CEP", pattern: bounded(String.raw`\d{5}[- ]?\d{3}`), context: near("cep|código postal"), digits: 8 },
  { kind: "CEP", pattern: bounded(String.raw`\d{5}(?:-\d{4})?`), context: after("zip(?: code)?|postal code|postcode"), digits: 5 },
  { kind: "CEP", pattern: new RegExp(String.raw`(?<=${begin}(?:${usState}),? )\d{5}(?:-\d{4})?${finish}`, "gu"), digits: 5 },
  { kind: "CEP", pattern: bounded(String.raw`[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}`), digits: 1, lead: 2 },
  { kind: "IP", pattern: new RegExp(String.raw`(?<![\p{L}\p{N}.])\d{1,3}(?:\.\d{1,3}){3}(?![\p{L}\p{N}]|\.\d|/\d{1,2}(?!\d))`, "gu"), check: isPersonalIp, digits: 4 },
  { kind: "IP", pattern: around(":", 4, /[\da-fA-F]/, String.raw`(?<![\p{L}\p{N}:.])[\da-fA-F]{0,4}(?::[\da-fA-F]{0,4}){2,7}(?![\p{L}\p{N}:])`), check: (value) => isIPv6(value) && /[\da-f]{2}/i.test(value) && (value.includes("::") ? value.split(":").filter((part) => part !== "").length >= 2 : true), onlyWith: [":"] },
  { kind: "MAC", pattern: bounded(String.raw`[\da-fA-F]{4}\.[\da-fA-F]{4}\.[\da-fA-F]{4}`), check: (value) => /[a-f]/i.test(value), digits: 1, lead: 13 },
  { kind: "MAC", pattern: bounded(String.raw`[\da-fA-F]{2}(?:[:-][\da-fA-F]{2}){5}`), digits: 1, lead: 16 },
];

/** Loopback, "any" (networks, 10.0.0.0/8, don't come here), masks and broadcast are nobody's; four small numbers are a version or a paragraph. */
function isPersonalIp(value: string): boolean {
  return isIPv4(value) && !/^(?:127\.|0\.|255\.)/.test(value) && (value.startsWith("10.") || value.split(".").some((part) => Number(part) >= 20));
}
