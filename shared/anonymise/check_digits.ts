/** Check digits of identifiers, as a table: name → does the value carry valid ones? Values may have punctuation. */
const digitsOf = (value: string): number[] => Array.from(value.replace(/\D/g, ""), Number);
const allEqual = (digits: readonly number[]) => digits.every((digit) => digit === digits[0]);
const weighted = (digits: readonly number[], weights: readonly number[]) => weights.reduce((sum, weight, at) => sum + weight * (digits[at] ?? 0), 0);
/** The usual mod 11 digit: 11 - remainder, where 10 and 11 become 0. */
const mod11 = (sum: number) => (sum % 11 < 2 ? 0 : 11 - (sum % 11));
/** Weights that fall from `first` to 2 and then start again at 9. */
const falling = (count: number, first: number) => Array.from({ length: count }, (_, at) => ((first - 2 - at + 80) % 8) + 2);
const countdown = (from: number, count: number) => Array.from({ length: count }, (_, at) => from - at);

export const checkDigits = {
  cpf: (value: string) => {
    const digits = digitsOf(value);
    return digits.length === 11 && !allEqual(digits) && mod11(weighted(digits, countdown(10, 9))) === digits[9] && mod11(weighted(digits, countdown(11, 10))) === digits[10];
  },
  /** Letters count too since 2026: the value of a character is its code minus 48. */
  cnpj: (value: string) => {
    const characters = value.toUpperCase().replace(/[^0-9A-Z]/g, "");
    const digits = Array.from(characters, (character) => character.charCodeAt(0) - 48);
    if (!/^[0-9A-Z]{12}\d{2}$/.test(characters) || allEqual(digits)) return false;
    return mod11(weighted(digits, falling(12, 5))) === digits[12] && mod11(weighted(digits, falling(13, 6))) === digits[13];
  },
  cns: (value: string) => {
    const digits = digitsOf(value);
    return digits.length === 15 && [1, 2, 7, 8, 9].includes(digits[0] ?? 0) && weighted(digits, countdown(15, 15)) % 11 === 0;
  },
  pis: (value: string) => {
    const digits = digitsOf(value);
    return digits.length === 11 && !allEqual(digits) && mod11(weighted(digits, falling(10, 3))) === digits[10];
  },
  luhn: (value: string) => {
    const digits = digitsOf(value);
    if (digits.length < 13 || digits.length > 19 || allEqual(digits)) return false;
    const sum = digits.reverse().reduce((total, digit, at) => total + (at % 2 === 0 ? digit : digit * 2 > 9 ? digit * 2 - 9 : digit * 2), 0);
    return sum % 10 === 0;
  },
  iban: (value: string) => {
    const characters = value.replace(/[^0-9A-Za-z]/g, "").toUpperCase();
    if (!/^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$/.test(characters)) return false;
    let remainder = 0;
    for (const character of characters.slice(4) + characters.slice(0, 4)) {
      const number = character <= "9" ? Number(character) : character.charCodeAt(0) - 55;
      remainder = (remainder * (number > 9 ? 100 : 10) + number) % 97;
    }
    return remainder === 1;
  },
  nhs: (value: string) => {
    const digits = digitsOf(value);
    const check = 11 - (weighted(digits, countdown(10, 9)) % 11);
    return digits.length === 10 && (check === 11 ? 0 : check) === digits[9];
  },
  ssn: (value: string) => {
    const [area = "", group = "", serial = ""] = [value.replace(/\D/g, "").slice(0, 3), value.replace(/\D/g, "").slice(3, 5), value.replace(/\D/g, "").slice(5)];
    return serial.length === 4 && area !== "000" && area !== "666" && area < "900" && group !== "00" && serial !== "0000";
  },
} as const satisfies Record<string, (value: string) => boolean>;
