/**
 * Check digits of the blind set's numbers, each from its public definition (Receita Federal, Ministério da Saúde, Denatran, TSE, CNJ Resolução 65/2008, NHS data dictionary, ISO 7812, ISO 13616) and from nothing of the code under test.
 * Each function gets the digits before the check digits and returns these, or undefined where the definition issues no such number.
 */

/** Σ digit × weight. */
function weighted(digits: string, weights: readonly number[]): number {
  return weights.reduce((sum, weight, at) => sum + weight * (digits.charCodeAt(at) - 48), 0);
}

/** from, from-1, … to. */
function down(from: number, to: number): number[] {
  return Array.from({ length: from - to + 1 }, (_, at) => from - at);
}

/** Modulo 11 as most Brazilian numbers have it: 11 less the rest, 10 and 11 give 0. */
function modulo11(sum: number): string {
  const digit = 11 - (sum % 11);
  return String(digit > 9 ? 0 : digit);
}

/** The same where the definition skips 10. */
function modulo11WithoutTen(sum: number): string | undefined {
  const digit = (11 - (sum % 11)) % 11;
  return digit === 10 ? undefined : String(digit);
}

function remainderOf(digits: string, divisor: number): number {
  return Number(BigInt(digits) % BigInt(divisor));
}

export const checkDigits = {
  /** 9 digits. */
  CPF: (digits: string): string => {
    const first = modulo11(weighted(digits, down(10, 2)));
    return first + modulo11(weighted(digits + first, down(11, 2)));
  },
  /** 12 digits or capitals: a letter counts as its ASCII code less 48 (Receita Federal, IN 2.229/2024). */
  CNPJ: (characters: string): string => {
    const first = modulo11(weighted(characters, [...down(5, 2), ...down(9, 2)]));
    return first + modulo11(weighted(characters + first, [...down(6, 2), ...down(9, 2)]));
  },
  /** 14 digits, first one 1, 2, 7, 8 or 9: the weighted sum of all 15 is a multiple of 11. */
  CNS: (digits: string): string | undefined => modulo11WithoutTen(weighted(digits, down(15, 2))),
  /** 10 digits. */
  PIS: (digits: string): string => modulo11(weighted(digits, [3, 2, ...down(9, 2)])),
  /** 8 digits, São Paulo's rule; X stands for 10. */
  RG: (digits: string): string => {
    const digit = (11 - (weighted(digits, [2, 3, 4, 5, 6, 7, 8, 9]) % 11)) % 11;
    return digit === 10 ? "X" : String(digit);
  },
  /** 9 digits. Where the first sum gives 10 the descriptions of the second digit differ: such numbers are not made. */
  CNH: (digits: string): string | undefined => {
    const first = weighted(digits, down(9, 1)) % 11;
    const second = weighted(digits, [1, 2, 3, 4, 5, 6, 7, 8, 9]) % 11;
    return first === 10 ? undefined : `${first}${second === 10 ? 0 : second}`;
  },
  /** 10 digits. */
  RENAVAM: (digits: string): string => String(((weighted(digits, [3, 2, ...down(9, 2)]) * 10) % 11) % 10),
  /** 8 digits of the sequence and 2 of the state; São Paulo and Minas (01, 02), which have their own rule for a 0, are not made. */
  TITULO_ELEITOR: (digits: string): string | undefined => {
    if (digits.endsWith("01") || digits.endsWith("02")) return undefined;
    const first = String((weighted(digits, [2, 3, 4, 5, 6, 7, 8, 9]) % 11) % 10);
    return first + String((weighted(digits.slice(8) + first, [7, 8, 9]) % 11) % 10);
  },
  /** 9 digits. */
  NHS: (digits: string): string | undefined => modulo11WithoutTen(weighted(digits, down(10, 2))),
  /** All digits but the last (Luhn). */
  CARTAO: (digits: string): string => {
    const sum = [...digits].reverse().reduce((total, digit, at) => total + (at % 2 === 0 ? ((Number(digit) * 2) % 10) + Math.floor(Number(digit) / 5) : Number(digit)), 0);
    return String((10 - (sum % 10)) % 10);
  },
  /** 7 digits of the number and 11 of year, branch, court and origin, without the two between them. */
  PROCESSO: (digits: string): string => String(98 - remainderOf(`${digits}00`, 97)).padStart(2, "0"),
  /** Country and account number. */
  IBAN: (countryAndAccount: string): string => {
    const digits = `${countryAndAccount.slice(2)}${countryAndAccount.slice(0, 2)}00`.replaceAll(/[A-Z]/g, (letter) => String(letter.charCodeAt(0) - 55));
    return String(98 - remainderOf(digits, 97)).padStart(2, "0");
  },
  /** 12 digits. */
  EAN: (digits: string): string => String((10 - (weighted(digits, [1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]) % 10)) % 10),
  /** 9 digits. */
  ISBN10: (digits: string): string => {
    const digit = (11 - (weighted(digits, down(10, 2)) % 11)) % 11;
    return digit === 10 ? "X" : String(digit);
  },
};
