/** Brazilian identifiers. Written with their punctuation they are taken even when the check digits are wrong: a typing error is still somebody. */
import { isIPv4 } from "node:net";
import { checkDigits } from "../check_digits.ts";
import { after, begin, bounded, finish, near, nearDigits, nearLines, type Recogniser } from "../recogniser.ts";

const cpfWords = near("cpfs?|cpf/mf|contribuinte|documento|doc|tax id|tax number|titular");
const cnpjLoose = String.raw`[\dA-Z]{2}[. ]?[\dA-Z]{3}[. ]?[\dA-Z]{3}[/ ]?[\dA-Z]{4}[- ]?\d{2}`;
/** "5 2 9 . 9 8 2 …": digits apart, as people write them who were told not to. */
const apart = (digits: number) => String.raw`\d(?:[ .,-]{1,3}\d){${digits - 1}}`;
const plateWords = nearDigits("placas?|ônibus|van|bus|carros?|veículos?|motos?|automóvel|caminhão|caminhonete|plates?|car|vehicle|truck|motorcycle|registration|detran|multa|estacionamento|renavam|emplacad[oa]|fiat|ford|honda|toyota|chevrolet|volkswagen|hyundai|renault|yamaha|saveiro|gol|uno|palio|corsa|onix|hb20|corolla|civic|fusca|kombi|strada|hilux|biz|titan");

export const brazil: readonly Recogniser[] = [
  { kind: "PROCESSO", pattern: bounded(String.raw`\d{7} ?-? ?\d{2}\. ?\d{4}\. ?\d\. ?\d{2}\. ?\d{4}`), digits: 20 },
  // Twenty digits with a year and a branch of justice where the CNJ's numbering has them (NNNNNNN DD AAAA J TR OOOO).
  { kind: "PROCESSO", pattern: bounded(String.raw`\d{9}(?:19|20)\d{2}[1-9]\d{6}`), digits: 20 },
  { kind: "PROCESSO", pattern: bounded(String.raw`\d{20}`), context: near("processos?|proc|autos|ação|case|cnj|execução|recurso"), digits: 20 },
  { kind: "PROCESSO", pattern: bounded(String.raw`\d:\d{2}-[a-z]{2}-\d{3,6}(?:-[A-Z]{2,4}){0,3}`), digits: 3 },
  { kind: "PROCESSO", pattern: bounded(String.raw`\d[\d./-]{3,24}\d`), context: after("processo|autos|boletim de ocorrência|b\\.?o\\.?|inquérito|case|docket|police report|process"), check: (value) => !isYear(value), digits: 5 },
  { kind: "CNPJ", pattern: bounded(String.raw`[\dA-Z]{2}\.[\dA-Z]{3}\.[\dA-Z]{3}/[\dA-Z]{4}-\d{2}`, "i"), digits: 1, lead: 16 },
  { kind: "CNPJ", pattern: bounded(cnpjLoose), check: (value) => /\d.*\d.*\d/.test(value) && checkDigits.cnpj(value), digits: 1, lead: 16 },
  { kind: "CNPJ", pattern: bounded(cnpjLoose, "i"), context: near("cnpj"), digits: 1, lead: 16 },
  { kind: "CNPJ", pattern: bounded(apart(14)), check: checkDigits.cnpj, context: near("cnpj"), digits: 14 },
  // 192.168.234.52 has the same shape.
  { kind: "CPF", pattern: bounded(String.raw`\d{3}\.\d{3}\.\d{3}[-./ ]?\d{2}`), check: (value) => !isIPv4(value) || checkDigits.cpf(value), digits: 11 },
  { kind: "CPF", pattern: new RegExp(String.raw`${begin}CPF(?<value>\d{3}\.?\d{3}\.?\d{3}-?\d{2})${finish}`, "giu"), startsWith: "CPF" },
  { kind: "CPF", pattern: bounded(String.raw`\d{3}[-. ]?\d{3}[-. ]?\d{3}[-./ ]?\d{2}`), check: checkDigits.cpf, context: cpfWords, needs: "either", digits: 11 },
  { kind: "CPF", pattern: bounded(apart(11)), check: checkDigits.cpf, digits: 11 },
  { kind: "CPF", pattern: bounded(String.raw`\d[\d. -]{6,14}\d`), context: after("cpf"), digits: 6 },
  { kind: "CNS", pattern: bounded(String.raw`\d{3}[ .]?\d{4}[ .]?\d{4}[ .]?\d{4}`), check: checkDigits.cns, context: near("cns|sus|cartão nacional(?: de saúde)?|cartão de saúde"), needs: "either", digits: 15 },
  { kind: "PIS", pattern: bounded(String.raw`\d{3}\.\d{5}\.\d{2}-\d`), digits: 11 },
  { kind: "PIS", pattern: bounded(String.raw`\d{3}[. ]?\d{5}[. ]?\d{2}[- ]?\d`), context: near("pis|pasep|nis|nit|pis/pasep"), digits: 11 },
  { kind: "RG", pattern: bounded(String.raw`\d{2}\.\d{3}\.\d{3}-[\dXx]`), digits: 8 },
  { kind: "RG", pattern: bounded(String.raw`(?:(?!RG)[A-Z]{2}[- ]?)?\d{1,3}\.?\d{3}\.?\d{3}(?:-?[\dXx])?`), context: near("rgs?|cédula|cedula|r\\.g\\.|identidade|registro geral|identity card|id card"), digits: 7, lead: 3 },
  { kind: "CNH", pattern: bounded(String.raw`[A-Z]{0,2}\d[\d-]{5,11}\d`), context: near("cnh|habilitação|carteira de motorista|driver'?s licen[cs]e|driving licen[cs]e|driver licen[cs]e"), digits: 6, lead: 2 },
  { kind: "TITULO_ELEITOR", pattern: bounded(String.raw`\d{4}[ .]?\d{4}[ .]?\d{4}`), context: near("título(?: de eleitor| eleitoral)?|titulo(?: de eleitor| eleitoral)?|voter (?:id|registration)|inscrição eleitoral"), digits: 12 },
  { kind: "RENAVAM", pattern: bounded(String.raw`\d{9,11}`), context: near("renavam"), digits: 9 },
  { kind: "PLACA", pattern: bounded(String.raw`[A-Z]{3}[- ]?\d[A-Z]\d{2}`), digits: 1, lead: 4 },
  { kind: "PLACA", pattern: bounded(String.raw`[A-Z]{3}[- ]?\d[A-Z\d]\d{2}`, "i"), check: isPlate, context: plateWords, digits: 1, lead: 4 },
  { kind: "PLACA", pattern: bounded(String.raw`[A-Z]{3}-?\d{4}`), check: isPlate, context: nearLines("placas?(?!-mãe| mãe| de )|licen[cs]e plates?|number plates?"), digits: 4, lead: 4 },
  { kind: "PLACA", pattern: bounded(String.raw`(?=[A-Z -]{0,6}\d)[A-Z0-9]{2,4}[- ]?[A-Z0-9]{2,4}`), context: after("placas?|licen[cs]e plates?|number plate|plates?"), digits: 1, lead: 6 },
  { kind: "REGISTRO", pattern: bounded(String.raw`(?:CRM|CRO|CRP|CRF|CREA|CAU|CRC|CRN|OAB|COREN|CREFITO)[ /:-]{0,3}(?:(?:[A-Z]{2}|\d(?=[ /-]))[ /:-]{0,3})?(?:n[º°o.] ?)?\d[\d./]{2,11}(?:-\d)?(?:[-/ ][A-Z]{2})?`), startsWith: "CRM|CRO|CRP|CRF|CREA|CAU|CRC|CRN|OAB|COREN|CREFITO" },
];

/** Parts of computers, laws and labels are written alike. */
function isPlate(value: string): boolean {
  return !/^(?:RTX|GTX|DDR|LGA|USB|CPU|GPU|RAM|SSD|ISO|NBR|LEI|ART|CEP|CPF|CNH|ANO|KM)/i.test(value) && !/^[A-Za-z]?[a-z]{2} (?:19|20)\d{2}$/.test(value);
}

/** A label followed by a year ("processo de 2024", "fatura 11/2026") is no identifier. */
export function isYear(value: string): boolean {
  return /^(?:(?:0?[1-9]|1[0-2])\/)?(?:19|20)\d{2}$/.test(value);
}
