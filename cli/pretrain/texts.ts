/**
 * Folders of text → documents to pre-train on. One row per file format; what can't be read is named and left out, so that a folder may hold
 * licences and notes beside the data.
 */
import { readFile, readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import { z } from "zod";
import type { ChatMessage } from "../../shared/tokenizer/tokenizer.ts";

export type Document = { readonly text: string } | { readonly messages: readonly ChatMessage[] };
type Reader = (content: string) => Document[];

const chat = (user: string, assistant: string): Document => ({ messages: [{ role: "user", content: user.trim() }, { role: "assistant", content: assistant.trim() }] });

const messagesSchema = z.object({ messages: z.array(z.object({ role: z.string(), content: z.string() })).min(2) });
const textSchema = z.object({ text: z.string().min(1) });
const alpacaSchema = z.object({ instruction: z.string(), input: z.string().default(""), response: z.string().optional(), output: z.string().optional() });
const pubmedSchema = z.object({ QUESTION: z.string(), CONTEXTS: z.array(z.string()), LONG_ANSWER: z.string() });

/** One JSON value in any of the shapes that instruction data comes in. */
function fromObject(value: unknown): Document[] {
  const messages = messagesSchema.safeParse(value);
  if (messages.success) return [messages.data];
  const pubmed = pubmedSchema.safeParse(value);
  if (pubmed.success) {
    const { QUESTION: question, CONTEXTS: contexts, LONG_ANSWER: answer } = pubmed.data;
    return [chat(question, answer), ...contexts.map((text) => ({ text }))];
  }
  const alpaca = alpacaSchema.safeParse(value);
  const answer = alpaca.success ? (alpaca.data.response ?? alpaca.data.output) : undefined;
  if (alpaca.success && answer !== undefined && answer.trim() !== "") return [chat(`${alpaca.data.instruction}\n${alpaca.data.input}`, answer)];
  const text = textSchema.safeParse(value);
  return text.success ? [text.data] : [];
}

const readers: Readonly<Record<string, Reader>> = {
  ".txt": (content) => paragraphs(content),
  ".md": (content) => paragraphs(content),
  ".json": (content) => {
    const value: unknown = JSON.parse(content);
    return (Array.isArray(value) ? value : typeof value === "object" && value !== null ? Object.values(value) : []).flatMap(fromObject);
  },
  ".jsonl": (content) => content.split("\n").filter((line) => line.trim() !== "").flatMap((line) => fromObject(JSON.parse(line))),
  ".conll": (content) => conll(content),
};

/** Reads every file of the folders (not deep) that a reader knows. @param onSkip told the path and why */
export async function readFolders(folders: readonly string[], onSkip: (path: string, reason: string) => void): Promise<Map<string, Document[]>> {
  const found = new Map<string, Document[]>();
  for (const folder of folders) {
    for (const entry of (await readdir(folder, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(folder, entry.name);
      const reader = readers[extname(entry.name)];
      if (!entry.isFile() || reader === undefined) {
        onSkip(path, "no reader for this kind of file");
        continue;
      }
      const documents = reader(await readFile(path, "utf8"));
      if (documents.length > 0) found.set(path, documents);
      else onSkip(path, "no document in a known shape");
    }
  }
  return found;
}

/** About 2,000 characters a document, cut at blank lines. */
function paragraphs(content: string): Document[] {
  const documents: Document[] = [];
  let current = "";
  for (const paragraph of content.normalize("NFC").split(/\n\s*\n/)) {
    if (current.length + paragraph.length > 2_000 && current !== "") {
      documents.push({ text: current });
      current = "";
    }
    current += `${current === "" ? "" : "\n\n"}${paragraph.trim()}`;
  }
  return current === "" ? documents : [...documents, { text: current }];
}

/** CoNLL: a token and its tag a line, a blank line between sentences. The tags are dropped, the text is joined as it is usually written. */
function conll(content: string): Document[] {
  const sentences = content.split(/\n\s*\n/).map((block) =>
    block
      .split("\n")
      .map((line) => line.split(" ")[0] ?? "")
      .join(" ")
      .replace(/ ([.,;:!?)\]%º])/g, "$1")
      .replace(/([([]) /g, "$1"),
  );
  return paragraphs(sentences.filter((sentence) => sentence.length > 20).join("\n\n")).map((document) => ("text" in document ? { text: document.text.replaceAll("\n\n", "\n") } : document));
}
