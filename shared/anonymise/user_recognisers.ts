/**
 * Recognisers that a user adds without code: DATA_DIR/recognisers.json. Their patterns run in RE2's way, in time linear in the text, so that no pattern and
 * no text can stop the collector (lookarounds and back references are refused when the file is read). Boundaries of words are added by us.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { RE2JS } from "re2js";
import { z } from "zod";
import { describeIssues, EverloraError, messageOf } from "../errors/errors.ts";
import { isMissing } from "../files/missing.ts";
import { checkDigits } from "./check_digits.ts";
import { isWithinWord } from "./characters.ts";
import { createMatcher } from "./matcher.ts";
import { after, near, type Context, type Pattern, type Recogniser } from "./recogniser.ts";
import { recognisers as bundled } from "./recognisers/recognisers.ts";

const userRecognisersFile = "recognisers.json";

const words = z.array(z.string().min(2).max(60)).min(1).max(100);

const userRecogniserSchema = z
  .strictObject({
    /** The placeholder's name: [CRACHA]. */
    kind: z.string().regex(/^[A-Z][A-Z0-9_]{1,19}$/, "must be 2 to 20 capitals, digits and underscores, and begin with a letter"),
    /** In RE2's syntax. */
    pattern: z.string().min(1).max(500),
    ignoreCase: z.boolean().default(false),
    /** Words directly before the value, with at most a link ("nº", ":", "is") between. */
    after: words.optional(),
    /** Words anywhere before it in the same sentence. */
    near: words.optional(),
    check: z.enum(Object.keys(checkDigits) as [keyof typeof checkDigits, ...(keyof typeof checkDigits)[]]).optional(),
    /** Sentences in which something must be found, and sentences in which nothing may be: tried when the file is read. */
    examples: z.array(z.string().max(2_000)).default([]),
    counterExamples: z.array(z.string().max(2_000)).default([]),
  })
  .refine((row) => row.after === undefined || row.near === undefined, "has both after and near; give one of them");
export type UserRecogniser = z.infer<typeof userRecogniserSchema>;

/**
 * The user's recognisers, if there are any, and the bundled ones: the user's name what both find. Reads a file: call it once at start.
 * @throws EverloraError invalid_settings that names file, row and fault
 */
export function loadRecognisers(dataDir: string): readonly Recogniser[] {
  const path = join(dataDir, userRecognisersFile);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return bundled;
    throw fault(path, messageOf(error));
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw fault(path, `not JSON: ${messageOf(error)}`);
  }
  const parsed = z.array(userRecogniserSchema).max(500).safeParse(value);
  if (!parsed.success) throw fault(path, describeIssues(parsed.error.issues, "file"));
  return [...parsed.data.map((row, at) => compile(row, `${path}, row ${at + 1} (${row.kind})`)), ...bundled];
}

function compile(row: UserRecogniser, place: string): Recogniser {
  const recogniser: Recogniser = { kind: row.kind, pattern: linearPattern(row, place), ...contextOf(row), ...(row.check === undefined ? {} : { check: checkDigits[row.check] }) };
  const matcher = createMatcher([recogniser]);
  const finds = (example: string) => matcher.find(example).length > 0;
  for (const example of row.examples) if (!finds(example)) throw fault(place, `finds nothing in its example ${JSON.stringify(example)}`);
  for (const example of row.counterExamples) if (finds(example)) throw fault(place, `finds something in its counter-example ${JSON.stringify(example)}`);
  return recogniser;
}

function contextOf({ after: directly, near: somewhere }: UserRecogniser): { context?: Context } {
  const literal = (list: readonly string[]) => list.map((word) => word.replace(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`)).join("|");
  if (directly !== undefined) return { context: after(literal(directly)) };
  return somewhere === undefined ? {} : { context: near(literal(somewhere)) };
}

function linearPattern(row: UserRecogniser, place: string): Pattern {
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(row.pattern, row.ignoreCase ? RE2JS.CASE_INSENSITIVE : 0);
  } catch (error) {
    throw fault(place, `its pattern can't be read (no lookarounds, no back references): ${messageOf(error)}`);
  }
  if (compiled.matches("")) throw fault(place, "its pattern matches the empty text");
  return {
    source: row.pattern,
    lastIndex: 0,
    exec(text) {
      const matcher = compiled.matcher(text);
      while (this.lastIndex <= text.length && matcher.find(this.lastIndex)) {
        const [start, end] = [matcher.start(), matcher.end()];
        this.lastIndex = Math.max(end, start + 1);
        if (end > start && !isWithinWord(text, start - 1) && !isWithinWord(text, end - 1)) return { 0: text.slice(start, end), index: start };
      }
      this.lastIndex = 0;
      return null;
    },
  };
}

function fault(place: string, message: string): EverloraError {
  return new EverloraError("invalid_settings", `${place}: ${message}`, { param: "recognisers", hint: "docs/privacy.md shows the file's shape. Nothing is collected until it is mended." });
}
