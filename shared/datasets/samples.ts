/** The bundled sample conversations: shared/datasets/samples/<domain>.jsonl, and general.jsonl for evaluation. Written for this project by hand. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { describeIssues, EverloraError } from "../errors/errors.ts";
import { messageSchema } from "../events/conversation.ts";
import { domainNameSchema } from "../events/streams.ts";
import { readLines } from "./lines.ts";

const sampleSchema = z.object({
  id: z.string().min(1),
  language: z.enum(["pt", "en"]),
  /** What a person sorted it into. */
  domain: domainNameSchema,
  kind: z.enum(["plain", "personal", "near-duplicate", "junk"]),
  /** The sample that a near-duplicate repeats. */
  of: z.string().optional(),
  /** The last one is the assistant's answer. */
  messages: z.array(messageSchema).min(2),
});
export type Sample = z.infer<typeof sampleSchema>;

/** @throws EverloraError dataset_invalid that names file and line */
export async function readSampleFile(path: string): Promise<Sample[]> {
  const samples: Sample[] = [];
  for await (const { number, text } of readLines(path)) {
    let value: unknown;
    try {
      value = JSON.parse(text ?? "");
    } catch {
      throw new EverloraError("dataset_invalid", `${path}, line ${number}: not JSON.`);
    }
    const parsed = sampleSchema.safeParse(value);
    if (!parsed.success) throw new EverloraError("dataset_invalid", `${path}, line ${number}: ${describeIssues(parsed.error.issues, "sample")}`);
    samples.push(parsed.data);
  }
  return samples;
}

/** All sample files of a folder, by file name. @param folder pathsOf(settings).samples */
export async function loadSamples(folder: string): Promise<Sample[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".jsonl")).sort();
  const files = await Promise.all(names.map((name) => readSampleFile(join(folder, name))));
  return files.flat();
}
