/** Brazilian identifiers. Written with their punctuation they are taken even when the check digits are wrong: a typing error is still somebody. */
import { checkDigits } from "../check_digits.ts";
import { after, bounded, near, type Recogniser } from "../recogniser.ts";

const digit = /\d/;
const cpfWords = near("cpf|cpf/mf|contribuinte|documento|doc|tax id");

export const brazil: readonly Recogniser[] = [
  { kind: "PROCESSO", pattern: bounded(String.raw`\d{7}-?\d{2}\.\d{4}\.\d\.\d{2}\.\d{4}`), onlyWith: digit },
  { kind: "PROCESSO", pattern: bounded(String.raw`\d{20}`), context: near("processo|autos|ação|case"), onlyWith: digit },
  { kind: "PROCESSO", pattern: bounded(String.raw`\d:\d{2}-[a-z]{2}-\d{3,6}(?:-[A-Z]{2,4}){0,3}`), onlyWith: digit },
  { kind: "PROCESSO", pattern: bounded(String.raw`\d[\d./-]{3,24}\d`), context: after("processo|autos|boletim de ocorrência|b\\.?o\\.?|inquérito|case|docket|police report|process"), check: (value) => !isYear(value), onlyWith: digit },
  { kind: "CNPJ", pattern: bounded(String.raw`[\dA-Z]{2}\.[\dA-Z]{3}\.[\dA-Z]{3}/[\dA-Z]{4}-\d{2}`, "i"), onlyWith: digit },
  { kind: "CNPJ", pattern: bounded(String.raw`[\dA-Z]{2}[. ]?[\dA-Z]{3}[. ]?[\dA-Z]{3}[/ ]?[\dA-Z]{4}[- ]?\d{2}`), check: (value) => /\d.*\d.*\d/.test(value) && checkDigits.cnpj(value), onlyWith: digit },
  { kind: "CNPJ", pattern: bounded(String.raw`[\dA-Z]{2}[. ]?[\dA-Z]{3}[. ]?[\dA-Z]{3}[/ ]?[\dA-Z]{4}[- ]?\d{2}`, "i"), context: near("cnpj"), onlyWith: digit },
  { kind: "CPF", pattern: bounded(String.raw`\d{3}\.\d{3}\.\d{3}[-./ ]?\d{2}`), onlyWith: digit },
  { kind: "CPF", pattern: bounded(String.raw`\d{3}[-. ]?\d{3}[-. ]?\d{3}[-./ ]?\d{2}`), check: checkDigits.cpf, context: cpfWords, needs: "either", onlyWith: digit },
  { kind: "CPF", pattern: bounded(String.raw`\d[\d. -]{6,14}\d`), context: after("cpf"), onlyWith: digit },
  { kind: "CNS", pattern: bounded(String.raw`\d{3}[ .]?\d{4}[ .]?\d{4}[ .]?\d{4}`), check: checkDigits.cns, context: near("cns|sus|cartão nacional(?: de saúde)?"), needs: "either", onlyWith: digit },
  { kind: "PIS", pattern: bounded(String.raw`\d{3}\.\d{5}\.\d{2}-\d`), onlyWith: digit },
  { kind: "PIS", pattern: bounded(String.raw`\d{3}[. ]?\d{5}[. ]?\d{2}[- ]?\d`), context: near("pis|pasep|nis|nit|pis/pasep"), onlyWith: digit },
  { kind: "RG", pattern: bounded(String.raw`\d{2}\.\d{3}\.\d{3}-[\dXx]`), onlyWith: digit },
  { kind: "RG", pattern: bounded(String.raw`(?:[A-Z]{2}[- ]?)?\d{1,3}\.?\d{3}\.?\d{3}(?:-?[\dXx])?`), context: near("rg|r\\.g\\.|identidade|registro geral|identity card|id card"), onlyWith: digit },
  { kind: "CNH", pattern: bounded(String.raw`[A-Z]{0,2}\d[\d-]{5,11}\d`), context: near("cnh|habilitação|carteira de motorista|driver'?s licen[cs]e|driving licen[cs]e"), onlyWith: digit },
  { kind: "TITULO_ELEITOR", pattern: bounded(String.raw`\d{4}[ .]?\d{4}[ .]?\d{4}`), context: near("título(?: de eleitor| eleitoral)?|titulo(?: de eleitor| eleitoral)?|voter (?:id|registration)"), onlyWith: digit },
  { kind: "RENAVAM", pattern: bounded(String.raw`\d{9,11}`), context: near("renavam"), onlyWith: digit },
  { kind: "PLACA", pattern: bounded(String.raw`[A-Z]{3}[- ]?\d[A-Z]\d{2}`), onlyWith: digit },
  { kind: "PLACA", pattern: bounded(String.raw`[A-Z]{3}[- ]?\d{4}`, "i"), context: near("placas?|carro|veículo|moto|automóvel|caminhão|plates?|car|vehicle|truck|motorcycle|registration"), onlyWith: digit },
  { kind: "PLACA", pattern: bounded(String.raw`(?=[A-Z -]{0,6}\d)[A-Z0-9]{2,4}[- ]?[A-Z0-9]{2,4}`), context: after("placas?|licen[cs]e plates?|number plate|plates?"), onlyWith: digit },
  { kind: "REGISTRO", pattern: bounded(String.raw`(?:CRM|CRO|CRP|CRF|CREA|CAU|CRC|CRN|OAB|COREN|CREFITO)[ /:-]{0,3}(?:[A-Z]{2}[ /:-]{0,3})?(?:n[º°o.] ?)?\d[\d.]{2,8}(?:[-/ ][A-Z]{2})?`), onlyWith: digit },
];

/** A label followed by a year ("processo de 2024") is no identifier. */
export function isYear(value: string): boolean {
  return /^(?:19|20)\d{2}$/.test(value);
}
