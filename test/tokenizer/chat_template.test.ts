/**
 * Which tokens the assistant spoke where a template writes a conversation's beginning otherwise when it goes on, marks its turns in odd places, or knows
 * no system role. What is expected is read off the rendered text, not asked of the code.
 */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { z } from "zod";
import { loadTokenizer, type ChatMessage, type Tokenizer } from "../../shared/tokenizer/tokenizer.ts";
import { goldenFolder } from "../models/golden.ts";

let work = "";
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-template-"));
});
after(() => rm(work, { recursive: true, force: true }));

const published = z.object({ templates: z.record(z.string(), z.string()) }).parse(JSON.parse(await readFile(join(goldenFolder, "tokenizers", "templates.json"), "utf8"))).templates;
async function withTemplate(template: string | undefined, base = "smollm2"): Promise<Tokenizer> {
  assert.ok(template !== undefined);
  const home = join(await mkdtemp(join(work, "case-")), base);
  await cp(join(goldenFolder, "tokenizers", base), home, { recursive: true });
  await writeFile(join(home, "chat_template.jinja"), template);
  return loadTokenizer(home);
}

/** The spoken parts as texts, end tokens shown as ‖. */
function spokenParts(tokenizer: Tokenizer, messages: readonly ChatMessage[]): string[] {
  const { ids, spoken } = tokenizer.conversation(messages);
  const parts: number[][] = [];
  ids.forEach((id, at) => {
    if (spoken[at] !== true) return;
    if (spoken[at - 1] !== true) parts.push([]);
    parts.at(-1)?.push(id);
  });
  return parts.map((part) => part.map((id) => (tokenizer.endTokens.includes(id) ? "‖" : tokenizer.decode([id]))).join(""));
}

const user = (content: string): ChatMessage => ({ role: "user", content });
const assistant = (content: string): ChatMessage => ({ role: "assistant", content });
const system = (content: string): ChatMessage => ({ role: "system", content });
const talk = [system("Be kind."), user("where is the river?"), assistant("by the house"), user("by the house?"), assistant("  the river is cold\n"), user("ok"), assistant("ok")];

/** As Qwen 3 does: what was thought is left out of earlier turns, and an empty thought is put before the last. */
const thinking = "{%- for message in messages %}{%- if message.role == 'assistant' %}{{- '<|im_start|>assistant\\n' }}{%- if loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{{- message.content.split('</think>')[-1] | trim + '<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

test("a template that writes earlier turns without their thoughts: every turn is marked, and nothing else", async () => {
  const tokenizer = await withTemplate(thinking);
  assert.deepEqual(spokenParts(tokenizer, talk), ["by the house‖", "the river is cold‖", "<think>\n\n</think>\n\nok‖"]);
  const thought = [user("where?"), assistant("<think>near</think>by the house"), user("ok"), assistant("ok")];
  assert.equal(tokenizer.decode(tokenizer.conversation(thought).ids).includes("near"), false);
  // The first turn's content is nowhere as it was said, and its beginning no beginning of the whole: better no mark than a wrong one.
  assert.deepEqual(spokenParts(tokenizer, thought), ["<think>\n\n</think>\n\nok‖"]);
});

test("a template that moves the system message to the last question: no question is taken for an answer", async () => {
  const tokenizer = await withTemplate(published["mistral"], "mistral");
  const whole = tokenizer.decode(tokenizer.conversation(talk).ids);
  assert.equal(whole.includes("Be kind."), false, "as transformers renders it, too");
  assert.deepEqual(spokenParts(tokenizer, talk).map((part) => part.replaceAll(" ", "")), ["bythehouse‖", "theriveriscold\n‖", "ok‖"]);
  const plain = talk.slice(1);
  assert.deepEqual(spokenParts(tokenizer, plain).map((part) => part.replaceAll(" ", "")), ["bythehouse‖", "theriveriscold\n‖", "ok‖"]);
});

test("an answer that quotes the end token is spoken to its own end", async () => {
  const tokenizer = await withTemplate(thinking);
  assert.deepEqual(spokenParts(tokenizer, [user("a"), assistant("say <|im_end|> twice"), user("b"), assistant("x")])[0], "say ‖ twice‖");
});

test("a template that ends every conversation with an end token of its own: the turn ends with its own, not with that", async () => {
  const { ids, spoken } = await (async () => (await withTemplate("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% else %}{{ eos_token }}{% endif %}")).conversation([user("a"), assistant("ok")]))();
  assert.deepEqual(spoken.slice(-4), [true, true, false, false], JSON.stringify(ids));
});

test("an empty answer is its end token, or unmarked where nobody can know; an answer without an end token is its text", async () => {
  const empty = [user("a"), assistant(""), user("b"), assistant("ok")];
  assert.deepEqual(spokenParts(await withTemplate(published["qwen"]), empty), ["‖", "ok‖"]);
  assert.deepEqual(spokenParts(await withTemplate(thinking), empty), ["<think>\n\n</think>\n\nok‖"]);
  const bare = await withTemplate("{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}");
  // The token reaches over the border, and begins with the prompt's last sign.
  assert.deepEqual(spokenParts(bare, [user("a"), assistant("ok"), user("b")]), [" ok\n"]);
});

test("a template's own marks decide, with any white space around them, and cover what they enclose", async () => {
  const chat = [user("a"), assistant("ok")];
  const marked = (open: string, close: string) => `{%- for m in messages %}\n  {%- if m.role == 'assistant' %}\n    ${open}\n    {{- 'A: ' + m.content }}\n    ${close}\n    {{- '<|im_end|>' }}\n  {%- else %}\n    {{- m.content + '\\n' }}\n  {%- endif %}\n{%- endfor %}`;
  // As transformers 5.23 marks them: what stands between a variable and a block's line is text.
  for (const [open, close, spoken] of [["{% generation %}", "{% endgeneration %}", "A: ok\n"], ["{%- generation -%}", "{%- endgeneration -%}", "A: ok"], ["{%generation%}", "{%endgeneration-%}", "A: ok\n"]] as const) {
    const tokenizer = await withTemplate(marked(open, close));
    assert.deepEqual(spokenParts(tokenizer, chat), [spoken], open);
    assert.equal(tokenizer.decode(tokenizer.conversation(chat).ids), `a\n${spoken}`);
  }
  // Marks that no message can forge.
  const tokenizer = await withTemplate(marked("{% generation %}", "{% endgeneration %}"));
  assert.deepEqual(spokenParts(tokenizer, [user("\u{e000}<0\u{e001}"), assistant("ok")]), ["A: ok\n"]);
});

const alternating = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

test("where a template knows no system role, what it says goes before the first question, in serving and in training alike", async () => {
  const tokenizer = await withTemplate(alternating);
  const folded = [user("Be kind.\n\nwhere is the river?"), ...talk.slice(2)];
  assert.deepEqual(tokenizer.prompt(talk.slice(0, 2)), tokenizer.prompt(folded.slice(0, 1)));
  assert.deepEqual(tokenizer.conversation(talk), tokenizer.conversation(folded));
  assert.deepEqual(spokenParts(tokenizer, talk), ["by the house‖", "  the river is cold\n‖", "ok‖"]);
  assert.deepEqual(tokenizer.prompt([system("hi")]), tokenizer.prompt([user("hi")]));
});

test("messages that a template refuses are the caller's error, in the template's words; a template that can't be read is the folder's", async () => {
  const tokenizer = await withTemplate(alternating);
  assert.throws(() => tokenizer.prompt([user("a"), user("b")]), { code: "invalid_request", message: /chat template refuses these messages: .*roles must alternate/ });
  await assert.rejects(withTemplate("{% if %}"), { code: "invalid_model_folder", message: /chat template cannot be read/ });
});
