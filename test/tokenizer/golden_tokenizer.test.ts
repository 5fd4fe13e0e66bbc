/** Ids, decoded texts, chat prompts and the assistant's marks are those of transformers' AutoTokenizer (test/golden/make_tokenizers.py). */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { openModelFolder } from "../../shared/models/folder.ts";
import { loadTokenizer } from "../../shared/tokenizer/tokenizer.ts";

const folder = fileURLToPath(new URL("../golden/tokenizers", import.meta.url));
const cases = ["bundled", "smollm2", "qwen", "llama3", "llama2", "gemma", "phi3", "mistral", "tekken", "gpt2"] as const;

const message = z.object({ role: z.string(), content: z.string() });
const ids = z.array(z.int());
const goldenSchema = z.object({
  eos: z.int(),
  vocabularySize: z.int(),
  marking: z.string(),
  texts: z.array(z.object({ text: z.string(), ids, decoded: z.string() })).min(20),
  chats: z.array(z.object({ messages: z.array(message), prompt: ids, ids, spoken: z.array(z.boolean()) })).min(4),
});
const templatesSchema = z.object({ tokenizer: z.string(), templates: z.record(z.string(), z.string()), rendered: z.array(z.object({ name: z.string(), messages: z.array(message), generate: z.boolean(), text: z.string() })).min(10) });

const readJson = async (path: string) => JSON.parse(await readFile(path, "utf8")) as unknown;
const readGolden = async (name: string) => goldenSchema.parse(await readJson(join(folder, name, "golden.json")));

let work = "";
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-tokenizer-"));
});
after(() => rm(work, { recursive: true, force: true }));

for (const name of cases) {
  test(`${name}: ids and decoded texts`, async () => {
    const golden = await readGolden(name);
    const tokenizer = await loadTokenizer(join(folder, name));
    assert.equal(tokenizer.vocabularySize, golden.vocabularySize);
    assert.deepEqual(tokenizer.endTokens, [golden.eos]);
    // All at once, so that one failure does not hide the next.
    assert.deepEqual(
      golden.texts.map(({ text }) => ({ text, ids: tokenizer.encode(text) })),
      golden.texts.map((entry) => ({ text: entry.text, ids: entry.ids })),
    );
    // The library's decoder of byte tokens drops a byte order mark, which shows nowhere.
    const shown = (text: string) => (["llama2", "gemma", "phi3", "mistral"].includes(name) ? text.replaceAll("\ufeff", "") : text);
    assert.deepEqual(
      golden.texts.map((entry) => tokenizer.decode(entry.ids)),
      golden.texts.map(({ decoded }) => shown(decoded)),
    );
  });

  test(`${name}: prompts, conversations, and which tokens the assistant spoke`, async () => {
    const golden = await readGolden(name);
    // transformers tells the assistant's tokens by the template's marks; with and without them we must say the same.
    const home = join(work, `marked-${name}`);
    await cp(join(folder, name), home, { recursive: true });
    await writeFile(join(home, "chat_template.jinja"), golden.marking);
    const withMarks = await loadTokenizer(home);
    const tokenizer = await loadTokenizer(join(folder, name));
    for (const { messages, prompt, ids: whole, spoken } of golden.chats) {
      const question = messages.at(-1)?.role === "assistant" ? messages.slice(0, -1) : messages;
      assert.deepEqual(tokenizer.prompt(question), prompt);
      const marked = tokenizer.conversation(messages);
      assert.deepEqual(marked.ids, whole);
      assert.deepEqual(marked.spoken, spoken, JSON.stringify(messages));
      assert.deepEqual(withMarks.prompt(question), prompt);
      assert.deepEqual(withMarks.conversation(messages), { ids: whole, spoken }, JSON.stringify(messages));
    }
  });
}

test("chat templates in the styles of well-known models render as in transformers", async () => {
  const golden = templatesSchema.parse(await readJson(join(folder, "templates.json")));
  for (const [at, [name, template]] of Object.entries(golden.templates).entries()) {
    const home = join(work, String(at));
    await cp(join(folder, golden.tokenizer), home, { recursive: true });
    await writeFile(join(home, "chat_template.jinja"), template);
    const tokenizer = await loadTokenizer(home);
    for (const entry of golden.rendered.filter((rendered) => rendered.name === name)) {
      const made = entry.generate ? tokenizer.prompt(entry.messages) : tokenizer.conversation(entry.messages).ids;
      assert.deepEqual(made, tokenizer.encode(entry.text), `${name} should give ${JSON.stringify(entry.text)}, gives ${JSON.stringify(tokenizer.decode(made))}`);
    }
  }
});

test("the chat template is part of a model's identity, wherever it is kept", async () => {
  const model = join(fileURLToPath(new URL("../golden/tied", import.meta.url)), "model");
  const other = join(work, "other-template");
  await cp(model, other, { recursive: true });
  assert.equal((await openModelFolder(other)).sha256, (await openModelFolder(model)).sha256);
  await writeFile(join(other, "chat_template.jinja"), "{{ 'another' }}");
  assert.notEqual((await openModelFolder(other)).sha256, (await openModelFolder(model)).sha256);
});

test("a template in chat_template.jinja goes before one in tokenizer_config.json, as in transformers", async () => {
  const home = join(work, "both");
  await cp(join(folder, "bundled"), home, { recursive: true });
  await writeFile(join(home, "chat_template.jinja"), "{{ 'from the file' }}");
  const tokenizer = await loadTokenizer(home);
  assert.equal(tokenizer.decode(tokenizer.prompt([{ role: "user", content: "hi" }])), "from the file");
});
