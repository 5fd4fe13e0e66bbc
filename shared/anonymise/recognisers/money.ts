/** Payment: cards, accounts, IBAN, PIX keys, and the taxpayer and health numbers of other countries. */
import { checkDigits } from "../check_digits.ts";
import { after, bounded, near, nearDigits, nearLines, type Recogniser } from "../recogniser.ts";


const cardWords = near("cartão|cartões|cartao|card|visa|master(?:card)?|amex|elo|hipercard|crédito|débito|credit|debit");
const uuid = String.raw`[\da-fA-F]{8}-[\da-fA-F]{4}-[\da-fA-F]{4}-[\da-fA-F]{4}-[\da-fA-F]{12}`;
/** As Brazil and many others number theirs. */
const passport = String.raw`[A-Z]{2}\d{6}`;

export const money: readonly Recogniser[] = [
  { kind: "IBAN", pattern: bounded(String.raw`[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,4})?`), check: checkDigits.iban, context: near("iban"), needs: "either", shrink: true, digits: 2, lead: 2 },
  { kind: "CARTAO", pattern: bounded(String.raw`\d{4}[ .-]?\d{4}[ .-]?\d{4}[ .-]?\d{4}(?:[ .-]?\d{3})?`), check: checkDigits.luhn, context: cardWords, needs: "either", shrink: true, digits: 16 },
  { kind: "CARTAO", pattern: bounded(String.raw`3[47]\d{2}[ .-]?\d{6}[ .-]?\d{5}`), check: checkDigits.luhn, context: cardWords, needs: "either", digits: 15 },
  { kind: "CARTAO", pattern: bounded(String.raw`[2-6]\d{12,18}`), check: checkDigits.luhn, context: cardWords, needs: "either", digits: 13 },
  { kind: "CARTAO", pattern: bounded(String.raw`\d{4}`), context: after(String.raw`(?:cartão|cartao|card)[^.\n\d]{0,30}(?:final|terminad[oa] em|com final|ending|ending in|ends in|ending with|last four(?: digits)?|last 4(?: digits)?)|final do cartão`), digits: 4 },
  // 188 is the telephone of Brazil's Centro de Valorização da Vida, the other CVV.
  { kind: "CARTAO", pattern: bounded(String.raw`\d{3,4}`), context: after("cvv2?|cvc2?|cvn|código de segurança|security code"), check: (value) => value !== "188", digits: 3 },
  { kind: "PIX", pattern: bounded(uuid), context: nearDigits("pix|chaves?(?: aleatória)?"), digits: 1, lead: 36 },
  { kind: "PIX", pattern: bounded(uuid), context: nearLines("pix|(?<=minha |sua |tua |nossa )chave|chaves? aleatórias?"), digits: 1, lead: 36 },
  { kind: "PIX", pattern: bounded(String.raw`00020126[\dA-Za-z .@:/*-]{30,480}`), digits: 8 },
  { kind: "CONTA", pattern: bounded(String.raw`\d[\d.-]{1,16}[\dXx]`), context: after(String.raw`ag|ag\.|agência|agencia|c/c|cc|c/p|conta|conta corrente|conta poupança|poupança|acct\.?|account|bank account|checking account|savings account|routing|sort code|iban|swift`), check: (value) => value.replace(/\D/g, "").length >= 3 && !/^(?:19|20)\d{2}$/.test(value), digits: 3 },
  { kind: "CONTA", pattern: bounded(String.raw`\d{3,9}-[\dXx]`), context: near("conta corrente|conta bancária|conta poupança|conta salário|(?:minha|sua|nossa) conta|conta n[oa]|conta d[oa]|(?<=mudou de |mudei de |mudamos de |mudança de |trocou de |troquei de |troca de |nova )conta|conta nova|bank account|depósito|depositar|deposite|transferir"), digits: 3 },
  { kind: "SSN", pattern: bounded(String.raw`\d{3}-\d{2}-\d{4}`), check: checkDigits.ssn, digits: 9 },
  { kind: "SSN", pattern: bounded(String.raw`\d{3}[- ]?\d{2}[- ]?\d{4}`), context: near("ssn|social security|social security number"), digits: 9 },
  // "my social is … and my wife's …": written apart it is no telephone number.
  { kind: "SSN", pattern: bounded(String.raw`\d{3}[- ]\d{2}[- ]\d{4}`), check: checkDigits.ssn, context: nearDigits("ssns?|social security|(?<=my |your |his |her |their )socials?(?! media)"), digits: 9 },
  { kind: "NHS", pattern: bounded(String.raw`\d{3} \d{3} \d{4}`), check: checkDigits.nhs, digits: 10 },
  { kind: "NHS", pattern: bounded(String.raw`\d{3}[ -]?\d{3}[ -]?\d{4}`), context: near("nhs"), digits: 10 },
  { kind: "PASSAPORTE", pattern: bounded(String.raw`[A-Z]{1,2} ?\d{6,8}|\d{9}`), context: near("passaportes?|passport"), digits: 6, lead: 3 },
  { kind: "PASSAPORTE", pattern: bounded(passport), context: after(String.raw`documento de viagem|travel document|(?:check-?in|embarque|passageir[oa]s?|hóspedes?|viajantes?|passengers?|travell?ers?|guests?)[^.!?\n\d]{0,40} (?:documento|document|doc\.?|id)`), digits: 6, lead: 2 },
  // A cell of a table that has a column for them.
  { kind: "PASSAPORTE", pattern: new RegExp(String.raw`(?<=[|;,\t] {0,3})${passport}(?= {0,3}[|;,\t\n])`, "gu"), onlyWith: ["passport", "passaporte"] },
];
