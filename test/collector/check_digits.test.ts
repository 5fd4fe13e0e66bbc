import assert from "node:assert/strict";
import { it } from "node:test";
import { checkDigits } from "../../shared/anonymise/check_digits.ts";

const vectors: Record<keyof typeof checkDigits, { good: string[]; bad: string[] }> = {
  cpf: { good: ["529.982.247-25", "906.259.666-51", "52998224725", "111.444.777-35"], bad: ["111.111.111-11", "529.982.247-26", "5299822472", ""] },
  cnpj: { good: ["11.222.333/0001-81", "12.ABC.345/01DE-35", "UU97L8QM000130", "12abc34501de35"], bad: ["11.222.333/0001-82", "00.000.000/0000-00", "12.ABC.345/01DE-36", "1122233300018"] },
  cns: { good: ["898 0000 0004 3208", "898000000043208"], bad: ["898000000043209", "398000000043208", "89800000004320"] },
  pis: { good: ["888.18726.88-5", "88818726885"], bad: ["888.18726.88-6", "11111111111"] },
  luhn: { good: ["4111 1111 1111 1111", "378282246310005", "5555-5555-5555-4444", "6011000990139424"], bad: ["4111 1111 1111 1112", "0000 0000 0000 0000", "411111111111"] },
  iban: { good: ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "BR15 0000 0000 0000 1093 2840 814P 2"], bad: ["GB82 WEST 1234 5698 7654 33", "XX00"] },
  nhs: { good: ["943 476 5919", "9434765919"], bad: ["943 476 5918", "94347659190"] },
  ssn: { good: ["078-05-1120", "123-45-6789"], bad: ["000-12-3456", "666-12-3456", "912-12-3456", "123-00-4567", "123-45-0000"] },
};

for (const [name, { good, bad }] of Object.entries(vectors)) {
  it(`knows the check digits of ${name}`, () => {
    const check = checkDigits[name as keyof typeof checkDigits];
    for (const value of good) assert.equal(check(value), true, value);
    for (const value of bad) assert.equal(check(value), false, value);
  });
}
