import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createAnonymiser } from "../../shared/anonymise/anonymiser.ts";
import { checkDigits } from "../../shared/anonymise/check_digits.ts";
import { anonymiseFile } from "../../shared/anonymise/files.ts";
import { openAnonymiser } from "../../shared/anonymise/open.ts";
import { loadSalt } from "../../shared/anonymise/salt.ts";
import { createSurrogates } from "../../shared/anonymise/surrogates.ts";
import { loadRecognisers } from "../../shared/anonymise/user_recognisers.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { textOf, type Message } from "../../shared/events/conversation.ts";

let folder = "";
before(async () => void (folder = await mkdtemp(join(tmpdir(), "everlora-anonymise-"))));
after(() => rm(folder, { recursive: true, force: true }));
const write = async (name: string, text: string) => {
  await writeFile(join(folder, name), text);
  return join(folder, name);
};

describe("recognisers of the user's", () => {
  it("are rows of a file: pattern, words before, check digits, examples", async () => {
    await write("recognisers.json", JSON.stringify([
      { kind: "CRACHA", pattern: "EMP-\\d{3}", examples: ["crachá EMP-123"], counterExamples: ["TEMP-1234"] },
      { kind: "APOLICE", pattern: "[0-9]{6}", after: ["apólice (nova)"] },
      { kind: "SOCIO", pattern: "[0-9]{11}", near: ["sócio"], check: "cpf" },
    ]));
    const own = createAnonymiser(loadRecognisers(folder));
    assert.equal(own.text("O EMP-123 e o XEMP-123; apólice (nova) nº 123456 e 123456").text, "O [CRACHA] e o XEMP-123; apólice (nova) nº [APOLICE] e [APOLICE]");
    assert.equal(own.text("número 654321").text, "número 654321");
    assert.equal(own.text("o sócio 52998224725").text, "o sócio [SOCIO]", "the user's kind names what ours would find, too");
    assert.equal((await openAnonymiser({ DATA_DIR: folder, BASE_MODEL: "everlora-tiny", ANONYMISE_AS: "placeholders" })).text("EMP-123").text, "[CRACHA]");
  });

  it("can't be slow, whatever the pattern", async () => {
    await write("recognisers.json", JSON.stringify([{ kind: "EVIL", pattern: "(a+)+b" }, { kind: "EVIL2", pattern: "(x*)*y" }]));
    const own = createAnonymiser(loadRecognisers(folder));
    // A backtracking engine needs 2^40,000 steps for this; the test would not end.
    assert.equal(own.text(`${"a".repeat(40_000)} ${"x".repeat(40_000)}`).counts["EVIL"], undefined);
  });

  it("that can't be used are named, with file, row and fault", async () => {
    const faults: [string, RegExp][] = [
      ["{", /not JSON/],
      ['[{"kind":"lower","pattern":"x"}]', /kind/],
      ['[{"kind":"OK","pattern":"("}]', /row 1 \(OK\).*pattern/],
      ['[{"kind":"OK","pattern":"(?<=a)b"}]', /lookaround/],
      ['[{"kind":"OK","pattern":"(a)\\\\1"}]', /back reference/],
      ['[{"kind":"OK","pattern":"a*"}]', /empty text/],
      ['[{"kind":"OK","pattern":"abc","examples":["xyz"]}]', /finds nothing in its example/],
      ['[{"kind":"OK","pattern":"abc","counterExamples":["abc"]}]', /counter-example/],
      ['[{"kind":"OK","pattern":"abc","check":"nonsense"}]', /check/],
      ['[{"kind":"OK","pattern":"abc","after":["aa"],"near":["bb"]}]', /both after and near/],
      ['[{"kind":"OK","patern":"abc"}]', /patern/],
    ];
    for (const [text, message] of faults) {
      await write("recognisers.json", text);
      assert.throws(() => loadRecognisers(folder), (error: unknown) => error instanceof EverloraError && error.code === "invalid_settings" && message.test(error.message) && error.message.includes("recognisers.json"), text);
    }
    await rm(join(folder, "recognisers.json"));
    assert.ok(loadRecognisers(folder).length > 50);
  });
});

describe("surrogates", () => {
  const salt = Buffer.alloc(32, 7);
  const withSalt = (given: Uint8Array) => createAnonymiser(undefined, createSurrogates(given));
  const messages = (topic = ""): Message[] => [
    { role: "user", content: `${topic}Me chamo Ana Souza, CPF 529.982.247-25, cartão 4111 1111 1111 1111, nasci em 12/03/1984, ana.souza@empresa.com.br` },
    { role: "assistant", content: "Olá, Ana! O CPF 52998224725 está certo.", tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: '{"cpf":"529.982.247-25"}' } }] },
  ];
  const textsOf = (of: ReturnType<typeof withSalt>, topic?: string) => of.conversation({ messages: messages(topic) }).messages.map((message) => `${textOf(message)}${JSON.stringify(message.tool_calls ?? "")}`);

  it("are the same throughout a conversation, keep their shape, and are nobody's", () => {
    const [user = "", assistant = ""] = textsOf(withSalt(salt));
    for (const original of ["Ana", "Souza", "529.982", "4111 1111", "12/03/1984", "ana.souza"]) assert.ok(!`${user} ${assistant}`.includes(original), original);
    const cpf = /CPF (\d{3}\.\d{3}\.\d{3}-\d{2})/.exec(user)?.[1] ?? "";
    assert.equal(checkDigits.cpf(cpf), false, "wrong check digits");
    assert.equal(checkDigits.luhn(/\d{4} \d{4} \d{4} \d{4}/.exec(user)?.[0] ?? ""), false);
    assert.ok(assistant.includes(cpf) && assistant.includes(`CPF ${cpf.replace(/\D/g, "")}`), "with and without punctuation");
    const name = /Me chamo (\p{L}+)/u.exec(user)?.[1] ?? "";
    assert.ok(assistant.startsWith(`Olá, ${name}!`), "a part of a name is the same person");
    assert.match(user, /@example\.(?:com|org|net)/);
  });

  it("depend on the salt and on the conversation, and on nothing else", () => {
    assert.deepEqual(textsOf(withSalt(salt)), textsOf(withSalt(salt)));
    assert.notDeepEqual(textsOf(withSalt(salt)), textsOf(withSalt(Buffer.alloc(32, 8))));
    assert.notEqual(textsOf(withSalt(salt), "Oi. ")[0]?.slice(4), textsOf(withSalt(salt))[0]);
    assert.throws(() => createSurrogates(Buffer.alloc(8)), RangeError);
  });

  it("have a salt that is made once, and that only its owner can read", async () => {
    const state = join(folder, "state");
    const first = await loadSalt(state);
    assert.equal(first.length, 32);
    assert.deepEqual(Buffer.from(await loadSalt(state)), Buffer.from(first));
    assert.equal((await stat(join(state, "anonymiser-salt"))).mode & 0o777, 0o600);
    await writeFile(join(state, "anonymiser-salt"), "abc");
    await assert.rejects(loadSalt(state), (error: unknown) => error instanceof EverloraError && error.code === "invalid_settings");
  });
});

describe("whole files", () => {
  const run = async (path: string, anonymiser = createAnonymiser()) => {
    let text = "";
    const report = await anonymiseFile(path, anonymiser, (piece) => void (text += piece));
    return { text, ...report };
  };

  it("are read as text, JSON lines and JSON, and keep their form", async () => {
    assert.deepEqual(await run(await write("a.txt", "Meu CPF é 529.982.247-25\n\nsou a Ana Souza\nAna\n")), { text: "Meu CPF é [CPF]\n\nsou a [NOME]\n[NOME]\n", parts: 1, failed: [], counts: { CPF: 1, NOME: 2 } });
    const lines = await run(await write("b.jsonl", '{"cpf": 52998224725, "n": 12}\nno JSON 529.982.247-25\n{"a":"x"}'));
    assert.equal(lines.text, '{"cpf":"[CPF]","n":12}\nno JSON [CPF]\n{"a":"x"}');
    assert.equal(lines.parts, 3);
    assert.deepEqual(JSON.parse((await run(await write("c.json", '[{"email": "a@b.example.com", "deep": {"phone": "11987654321"}}]'))).text), [{ email: "[EMAIL]", deep: { phone: "[TELEFONE]" } }]);
  });

  it("leave out what fails, and say which part", async () => {
    const failing = createAnonymiser([{ kind: "X", pattern: /bad/gu, check: () => { throw new Error("saw bad"); } }]);
    const { text, failed } = await run(await write("d.jsonl", '"fine"\n"bad"\n"fine too"\n'), failing);
    assert.deepEqual({ text, failed }, { text: '"fine"\n"fine too"\n', failed: [2] });
  });

  it("that are none are named", async () => {
    await assert.rejects(run(join(folder, "nowhere.txt")), (error: unknown) => error instanceof EverloraError && error.code === "dataset_invalid" && error.message.includes("ENOENT"));
    await assert.rejects(run(await write("e.json", "{")), (error: unknown) => error instanceof EverloraError && error.message.includes("not JSON"));
    assert.equal(await readFile(join(folder, "e.json"), "utf8"), "{");
  });
});
