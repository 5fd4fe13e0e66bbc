/** All recognisers. Where two find the same stretch, the earlier row names it: labelled numbers before shapes that many numbers have. A new kind of personal data is a new row. */
import type { Recogniser } from "../recogniser.ts";
import { brazil } from "./brazil.ts";
import { contact } from "./contact.ts";
import { dates } from "./dates.ts";
import { labelled } from "./labelled.ts";
import { money } from "./money.ts";
import { records } from "./records.ts";
import { secrets } from "./secrets.ts";

export const recognisers: readonly Recogniser[] = [...secrets, ...labelled, ...brazil, ...money, ...records, ...contact, ...dates];
