/**
 * What a number of a workbook means: a date, a time, or digits that are shown with leading zeros (ECMA-376 part 1, 18.8.30 and 18.8.31). A workbook stores
 * a date as the number of days since 1900 or 1904, and only the cell's style tells it from any other number; a CPF stored as a number has lost its zeros, and
 * only the style brings them back. Other formats (per cent, currencies, decimals) are left alone: the value is kept.
 */
export type NumberKind = { readonly shown: "plain" } | { readonly shown: "date" | "time" | "datetime" | "duration" } | { readonly shown: "digits"; readonly mask: readonly string[] };

export interface Styles {
  /** By the index that a cell names. */
  readonly kinds: readonly NumberKind[];
  readonly date1904: boolean;
}

const plain: NumberKind = { shown: "plain" };
export const noStyles: Styles = { kinds: [], date1904: false };

/** Formats that have a number and no code in the file; 27 to 36 and 50 to 58 are dates wherever they mean something at all. */
const builtIn = new Map<number, NumberKind>([
  ...[14, 15, 16, 17, 27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58].map((id) => [id, { shown: "date" }] as const),
  ...[18, 19, 20, 21, 32, 33, 34, 35, 45, 47, 55, 56].map((id) => [id, { shown: "time" }] as const),
  [22, { shown: "datetime" }],
  [46, { shown: "duration" }],
]);

/** @param code undefined: one of those that need none */
export function numberKind(id: number, code: string | undefined): NumberKind {
  if (code === undefined) return builtIn.get(id) ?? plain;
  const first = sections(code)[0] ?? "";
  if (/\[(?:h+|m+|s+)\]/i.test(first)) return { shown: "duration" };
  const letters = first.replace(/"[^"]*"|[\\_*]./gs, "").replace(/\[[^\]]*\]/g, "");
  const clock = /[hs]|am\/pm|a\/p/i.test(letters);
  const calendar = /[yd]/i.test(letters.replace(/am\/pm|a\/p/gi, "")) || (/m/i.test(letters.replace(/am\/pm/gi, "")) && !clock);
  if (!/general/i.test(letters) && (clock || calendar)) return { shown: clock && calendar ? "datetime" : clock ? "time" : "date" };
  const mask = digitMask(first);
  return mask === null ? plain : { shown: "digits", mask };
}

/** A code's sections for positive, negative, zero and text, at semicolons outside quotes. */
const sections = (code: string) => code.match(/(?:"[^"]*"|\\.|[^;])+/gs) ?? [];

/** `000\.000\.000\-00`: two zeros or more and what stands between them, and nothing that computes. */
function digitMask(code: string): string[] | null {
  const mask: string[] = [];
  for (const [part = ""] of code.matchAll(/"[^"]*"|[\\].|\[\$[^\]]*\]|_.|./gs)) {
    if (part === "0") mask.push("0");
    else if (part.startsWith('"')) mask.push(...part.slice(1, -1).replaceAll("0", "\0"));
    else if (part.startsWith("\\")) mask.push(part[1] === "0" ? "\0" : (part[1] ?? ""));
    else if (/^[-+/():\s]$/.test(part)) mask.push(part);
    else if (!part.startsWith("[") && !part.startsWith("_")) return null;
  }
  return mask.filter((part) => part === "0").length >= 2 ? mask : null;
}

/** @param value as the cell has it @returns null where it is no date of the workbook's calendar */
export function numberText(value: string, kind: NumberKind, date1904: boolean): string | null {
  const number = Number(value);
  if (value.trim() === "" || !Number.isFinite(number)) return value;
  if (kind.shown === "digits" && Number.isInteger(number) && number >= 0 && number < 1e15) return filled(String(number), kind.mask);
  // Excel writes 17 digits and shows 15: 3.1400000000000001 was typed as 3.14.
  if (kind.shown === "plain" || kind.shown === "digits") return String(Number(number.toPrecision(15)));
  return dateText(number, kind.shown, date1904);
}

/** Digits into the mask from the right; those that are too many stand before the first. */
function filled(digits: string, mask: readonly string[]): string {
  let text = "";
  let left = digits;
  const first = mask.indexOf("0");
  for (let at = mask.length - 1; at >= 0; at--) {
    const part = mask[at] ?? "";
    if (part !== "0") text = (part === "\0" ? "0" : part) + text;
    else if (at === first) text = (left === "" ? "0" : left) + text;
    else {
      text = (left.at(-1) ?? "0") + text;
      left = left.slice(0, -1);
    }
  }
  return text;
}

const dayMs = 86_400_000;

/** ISO 8601, without a zone: a workbook knows none. */
function dateText(serial: number, shown: "date" | "time" | "datetime" | "duration", date1904: boolean): string | null {
  const ms = Math.round(serial * dayMs);
  if (shown === "duration") {
    const seconds = Math.round(Math.abs(ms) / 1_000);
    return `${ms < 0 ? "-" : ""}${[Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60].map((part) => String(part).padStart(2, "0")).join(":")}`;
  }
  // The day after 9999-12-31 is where both calendars end.
  if (ms < 0 || serial >= (date1904 ? 2_957_004 : 2_958_466)) return null;
  const days = Math.floor(ms / dayMs);
  const time = new Date(ms - days * dayMs).toISOString().slice(11, 23).replace(/\.000$/, "");
  if (shown === "time") return time;
  const day = dayOf(days, date1904);
  return shown === "date" ? day : `${day}T${time}`;
}

/** The calendar of 1900 has a 29 February 1900 as its day 60, which never was: Lotus 1-2-3 had it, and Excel kept it. */
function dayOf(days: number, date1904: boolean): string {
  if (!date1904 && days === 60) return "1900-02-29";
  const epoch = date1904 ? Date.UTC(1904, 0, 1) : Date.UTC(1899, 11, days < 60 ? 31 : 30);
  return new Date(epoch + days * dayMs).toISOString().slice(0, 10);
}
