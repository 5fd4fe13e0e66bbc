/** Dates: all of them, but no day before 1900 (nobody alive is told by it, and history would be unreadable). */
import { after, bounded, near, type Recogniser } from "../recogniser.ts";

const monthsPt = "janeiro|fevereiro|março|marco|abril|maio|junho|julho|agosto|setembro|outubro|novembro|dezembro";
const shortPt = "jan|fev|mar|abr|mai|jun|jul|ago|set|out|nov|dez";
const monthsEn = "January|February|March|April|May|June|July|August|September|October|November|December";
const shortEn = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept?|Oct|Nov|Dec";
const birth = near("nasc|nasci|nasceu|nascid[oa]s?|nascimento|data de nasc|aniversário|dn|d\\.n\\.|born|birth|birthday|date of birth|dob|d\\.o\\.b\\.");
const appointment = near("nasc|nasci|nasceu|nascid[oa]s?|nascimento|aniversário|consulta|internad[oa]|cirurgia|exame|birthday|appointment|admitted|surgery");

/** "terça-feira, 17/11", "sex., 13/11"; "ter" without a sign is a verb. */
const weekdays = "(?:segunda|terça|quarta|quinta|sexta)(?:-feira)?,?|sábado,?|domingo,?|(?:mon|tues|wednes|thurs|fri|satur|sun)day,?|(?:seg|ter|qua|qui|sex|sáb|sab|dom|mon|tue|wed|thu|fri|sat|sun)[.,]{1,2}";
/** What a clinical note calls by its day. */
const findings = "(?:hemo|uro|copro)?culturas?|coletas?|exames?|laudos?|tomografia|tc|rm|rx|raio-?x|ultrassom|usg|ecg|eco|ecocardiograma|biópsia|ressonância|endoscopia|consulta|cirurgia|(?:blood |urine )?cultures?|biopsy|labs|bloods|scan|x-?ray|mri|ct|surgery|visit";

const notHistory = (value: string) => {
  const year = /(?<!\d)\d{4}(?!\d)/.exec(value)?.[0];
  return year === undefined || (year >= "1900" && year < "2200");
};

/** Day and month in either order, with or without a year. */
function isDate(value: string): boolean {
  const [first = 0, second = 0] = value.split(/[/.-]/).map(Number);
  return notHistory(value) && first >= 1 && second >= 1 && ((first <= 31 && second <= 12) || (first <= 12 && second <= 31));
}

export const dates: readonly Recogniser[] = [
  { kind: "DATA", pattern: bounded(String.raw`(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19|20)\d{2}|(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])`), context: birth, digits: 8 },
  // Two digits each: "on 3/4" may be a fraction.
  { kind: "DATA", pattern: bounded(String.raw`\d{2}/\d{2}`), check: isDate, context: after(`on|dia|dias|desde|since|until|até|${weekdays}`), digits: 4 },
  { kind: "DATA", pattern: bounded(String.raw`\d{2}/\d{2}`), check: isDate, context: after(`(?:${findings}) (?:de|do|em|of|from)`), digits: 4 },
  { kind: "DATA", pattern: bounded(String.raw`(?:19|20)\d{2}([-/.])\d{1,2}\1\d{1,2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?: ?Z|[+-]\d{2}:?\d{2})?)?`), check: (value) => isDate(value.slice(5, 10).replace(/[^\d]+$/, "")), digits: 6 },
  { kind: "DATA", pattern: bounded(String.raw`\d{1,2}([/.-])\d{1,2}\1\d{4}`), check: isDate, digits: 6 },
  { kind: "DATA", pattern: bounded(String.raw`\d{1,2}/\d{1,2}/\d{2}|\d{2}-\d{2}-\d{2}`), check: isDate, digits: 4 },
  // 12.03.84 might be a version; with the right word before it is not.
  { kind: "DATA", pattern: bounded(String.raw`\d{1,2}\.\d{1,2}\.\d{2}`), check: isDate, context: birth, digits: 4 },
  { kind: "DATA", pattern: bounded(String.raw`\d{1,2}[/.-]\d{1,2}`), check: isDate, context: birth, digits: 2 },
  { kind: "DATA", pattern: bounded(String.raw`\d{1,2}/\d{2,4}|\d{1,2}/\d{1,2}`), context: appointment, digits: 2 },
  { kind: "DATA", pattern: bounded(String.raw`\d{1,2}(?:º|°|o)? ?(?:de )?(?:${monthsPt})(?:,? (?:de |do ano de )?\d{4})?`, "i"), check: notHistory, digits: 1 },
  { kind: "DATA", pattern: bounded(String.raw`\d{1,2}(?:[ /.-]| de )(?:${shortPt}|${shortEn})\.?(?:[ /.-]| de )(?:\d{4}|\d{2})`, "i"), check: notHistory, digits: 1 },
  { kind: "DATA", pattern: bounded(String.raw`(?:${monthsEn}|(?:${shortEn})\.?) \d{1,2}(?:st|nd|rd|th)?(?:,? \d{4})?`), check: notHistory, startsWith: shortEn },
  { kind: "DATA", pattern: bounded(String.raw`\d{1,2}(?:st|nd|rd|th)? (?:of )?(?:${monthsEn}|${shortEn})(?:,? \d{4})?`), check: notHistory, digits: 1 },
  { kind: "DATA", pattern: bounded(String.raw`(?:19|20)\d{2}`), context: birth, digits: 4 },
  { kind: "DATA", pattern: bounded(String.raw`(?:${monthsPt}|${monthsEn})(?: de)? (?:19|20)\d{2}`, "i"), context: birth, startsWith: `${monthsPt}|${monthsEn}` },
];
