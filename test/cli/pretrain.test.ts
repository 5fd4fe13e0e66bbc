import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pretrain } from "../../cli/pretrain/pretrain.ts";
import { readFolders } from "../../cli/pretrain/texts.ts";
import { openModelFolder } from "../../shared/models/folder.ts";
import { loadTokenizer } from "../../shared/tokenizer/tokenizer.ts";

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-pretrain-"));
  await mkdir(join(folder, "data"));
  const sentences = Array.from({ length: 240 }, (_, at) => `The ${["red", "blue", "green"][at % 3]} house number ${at} stands by the river, and o rio passa perto da casa ${at % 7}.`);
  await writeFile(join(folder, "data", "story.txt"), sentences.join("\n\n"));
  await writeFile(join(folder, "data", "chat.jsonl"), `${JSON.stringify({ messages: [{ role: "user", content: "Where is the house?" }, { role: "assistant", content: "By the river." }] })}\n`);
  await writeFile(join(folder, "data", "alpaca.json"), JSON.stringify([{ instruction: "Name a colour.", input: "", response: "Blue." }]));
  await writeFile(join(folder, "data", "tagged.conll"), "O O\nréu B-PESSOA\n, O\npresente O\n, O\nfoi O\nouvido O\nno O\nfórum O\n. O\n\n");
  await writeFile(join(folder, "data", "LICENSE"), "Licence of a test\n");
});
after(() => rm(folder, { recursive: true, force: true }));

test("every reader turns its format into documents, and what has none is named", async () => {
  const skipped: string[] = [];
  const found = await readFolders([join(folder, "data")], (path) => skipped.push(path));
  const of = (name: string) => found.get(join(folder, "data", name)) ?? [];
  assert.deepEqual(of("chat.jsonl"), [{ messages: [{ role: "user", content: "Where is the house?" }, { role: "assistant", content: "By the river." }] }]);
  assert.deepEqual(of("alpaca.json"), [{ messages: [{ role: "user", content: "Name a colour." }, { role: "assistant", content: "Blue." }] }]);
  assert.deepEqual(of("tagged.conll"), [{ text: "O réu, presente, foi ouvido no fórum." }]);
  assert.ok(of("story.txt").length > 5);
  assert.deepEqual(skipped, [join(folder, "data", "LICENSE")]);
});

test("pre-training writes a model folder that opens, whose loss fell, and whose card says what was done", async () => {
  const out = join(folder, "toy");
  const said: string[] = [];
  await pretrain({ data: [join(folder, "data")], out, tokens: 6_000, vocabulary: 320, width: 128, layers: 1, length: 64, rows: 4, learningRate: 5e-3, seed: 3, threads: 1, device: "cpu" }, (line) => said.push(line));
  const model = await openModelFolder(out);
  const weights = await model.readWeights();
  assert.equal([...weights.values()].reduce((sum, { values }) => sum + values.length, 0), model.parameters);
  const losses = said.flatMap((line) => /loss ([\d.]+)/.exec(line)?.[1] ?? []).map(Number);
  assert.ok((losses.at(-1) ?? Infinity) < 0.8 * Math.log(320), `the loss ended at ${losses.at(-1)}, a uniform guess has ${Math.log(320)}`);
  assert.equal((await stat(join(out, "model.safetensors"))).size < model.parameters * 2 + 10_000, true, "stored as float16");
  const card = await readFile(join(out, "README.md"), "utf8");
  assert.match(card, /Licence of a test/);
  assert.match(card, /tokens seen/);
  const tokenizer = await loadTokenizer(out, model.config.endTokens);
  const text = "O rio passa perto: ação, 日本, \u0007 and 🙂  two  spaces";
  assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  const marked = tokenizer.conversation([{ role: "user", content: "Where?" }, { role: "assistant", content: "By the river." }]);
  assert.equal(tokenizer.decode(marked.ids.filter((_, at) => marked.spoken[at])).trim(), "By the river.");
});
