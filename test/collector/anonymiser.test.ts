import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { createAnonymiser, PersonalDataError } from "../../shared/anonymise/anonymiser.ts";
import { recognisers } from "../../shared/anonymise/recognisers/recognisers.ts";
import { normaliseText } from "../../shared/anonymise/normalise.ts";
import { projectRoot } from "../../shared/config/settings.ts";
import { loadSamples } from "../../shared/datasets/samples.ts";
import { textOf, type Message } from "../../shared/events/conversation.ts";

const anonymiser = createAnonymiser();
const clean = (text: string) => anonymiser.text(normaliseText(text)).text;

/** What stands between « and » must be replaced, by this kind; everything else must stay. */
const cases: readonly [kind: string, ...texts: string[]][] = [
  ["CPF", "meu CPF é «529.982.247-25».", "cpf «52998224725»", "documento 529 982 247 25".replace("529 982 247 25", "«529 982 247 25»"), "CPF com erro de digitação: «529.982.247-26»", "cpf:«529982247-20», ok", "CPF «５２９．９８２．２４７－２５»", "cpf «529.982.247‑25»", "cpf «529.98\u200b2.247-25»"],
  ["CNPJ", "CNPJ «11.222.333/0001-81»", "a empresa «12.ABC.345/01DE-35» pagou", "cnpj «11222333000181»", "inscrita sob «UU97L8QM000130»"],
  ["CNS", "cartão SUS «898 0000 0004 3208»", "CNS «898000000043208»"],
  ["PIS", "PIS «888.18726.88-5»", "meu nis é «88818726885»"],
  ["RG", "RG «12.345.678-9»", "identidade «MG-12.345.678» SSP", "RG nº «1234567»", "RG «24.556.812-X»"],
  ["CNH", "CNH «04512345678»", "driver's license «D1234567»", "cnh da condutora: «02938475610»"],
  ["TITULO_ELEITOR", "título de eleitor «0123 4567 8901»"],
  ["EMAIL", "escreva para «joão.silva+loja@exemplo.com.br», por favor", "<«ana_souza@mail.example.org»>", "«maria (at) example (dot) com» é meu contato"],
  ["TELEFONE", "ligue «(11) 98765-4321»", "«+55 11 98765-4321»", "fone «11987654321»", "«+1 415-555-0199»", "call «(415) 555-0199»", "meu celular: «98765-4321»", "whatsapp «21 98888 7777»", "tel. «3456-7890»", "«+44 7700 900123»", "«07700 900123»", "(«011» 98765-4321)".replace("(«011» 98765-4321)", "«(011) 98765-4321»")],
  ["DATA", "nasci em «12/03/1984»", "«3 de março de 1984»", "born «March 3, 1984»", "«1984-03-12»", "dia «12.03.1984»", "on «3rd March 1984»", "consulta em «1º de abril de 2024»", "nascimento: «03/84»", "born in «1984»", "DOB: «12/03/84»", "at «2024-05-01T10:00:00Z» exactly", "«12/May/2025»", "PID|2||||||«19840212»|F", "quinta-feira, «12/11» às 14h", "sex., «13/11»", "ressonância de «14/03» sem alterações"],
  ["CEP", "CEP «01310-100»", "cep: «01310100»", "ZIP code «62704»", "Leeds «LS1 4AP»"],
  ["ENDERECO", "moro na «Rua das Flores, 123, apto 45»", "Entrega: «Av. Paulista, 1578»", "at «221B Baker Street»", "moro na «Rua Augusta»", "I live at «48 Maple Street, Apt 4B»", "at «22 Queensway, Flat 4B»"],
  ["PROCESSO", "processo «0001234-56.2024.8.26.0100»", "autos nº «00012345620248260100»", "boletim de ocorrência nº «1234/2024»"],
  ["PLACA", "placa «BRA2E19»", "o carro «ABC-1234»", "license plate «XKJ 482»", "Qual a placa? «BRA-2291»"],
  ["CARTAO", "cartão «4111 1111 1111 1111»", "card «378282246310005» please", "paid with «5555-5555-5555-4444»", "cartão com erro «4111 1111 1111 1112»", "card ending in «4242»", "CVV «123»"],
  ["IBAN", "IBAN «GB82 WEST 1234 5698 7654 32» please", "to «DE89370400440532013000»"],
  ["CONTA", "agência «1234-5»", "conta corrente «98765-4»", "mudei de conta, a atual é «48213-7»"],
  ["PIX", "chave pix «123e4567-e89b-12d3-a456-426614174000»", "Manda o pix. «3f2504e0-4f89-41d3-9a0c-0305e82c3301»"],
  ["SSN", "SSN «078-05-1120»", "social security number «078051120»", "her social is on file, his is «219 09 9998»"],
  ["NHS", "NHS number «943 476 5919»"],
  ["PASSAPORTE", "passaporte «FN123456»", "passport no. «123456789»", "embarque da passageira, documento «GB998877»", "seat,passport,meal\n12A,«AB123987»,none\n"],
  ["PACIENTE_ID", "prontuário «00458213»", "prontuário nº «48213-7»", "MRN: «00731-884»", "patient ID «P-48213»", "Medical record number «7730418»", "MRN «4471122» duplicates «MR-4471133»", '{"system":"urn:mrn","value":"«A1234567»"}', "PID|2|X|«A55122»^^^H||"],
  ["PEDIDO", "pedido nº «BR-2024-88123»", "order #«10045877»", "protocolo «20248891234»", "tracking «LX123456789BR»", "nota fiscal «000123456»"],
  ["REGISTRO", "«CRM-SP 123456»", "«OAB/SP 123.456»"],
  ["IP", "from «203.0.113.7».", "ssh «2001:db8:85a3::8a2e:370:7334»", "«192.168.0.15»:8080"],
  ["MAC", "MAC «00:1B:44:11:3A:B7»"],
  ["CREDENCIAL", "postgres://«admin:s3cr3t!»@db.example.com/x", "https://example.com/?token=«abc123def456»&x=1"],
  ["CHAVE_API", "key «sk-test-4eC39HqLyjWDarjtT1zdp7dc»", "«sk-proj-abcDEF123456ghiJKL789»", "«ghp_16C7e42F292c6912E7710c838347Ae178B4a»", "«AKIAIOSFODNN7EXAMPLE»", "Authorization: Bearer «abcdef123456.ghijkl»", "api_key = \"«9f8e7d6c5b4a39281706»\"", "«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N»", "«-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----»"],
  ["SENHA", "minha senha é «Gato#2024»", "password: «hunter2!»", "o PIN do app é «4471»", "código de verificação «839201»", "'«Gato2024x»' é uma senha boa?", "troquei a senha do site.com.br para «Luar$2022» ontem"],
  ["NOME", "Me chamo «João da Silva» e", "meu nome é «Ana Souza»", "My name is «Siobhan O'Rourke».", "Dr. «Ítalo Nogueira» pediu", "Sra. «Conceição»", "me chamo «joão pereira» e quero", "sou a «Beatriz»", "my husband «Tom»", "falei com a «Patrícia Gomes» ontem", "NOME: «MARIA DAS DORES SANTOS»", "o paciente «Otávio Lemos» voltou", "Atenciosamente,\n«Carlos Mendes»", "I'm «Priya Nair», hello", "PID|2||||«Souza^Ana»|"],
];

/** Nothing in here is personal. */
const innocent = [
  "O João-de-barro é um pássaro.".replace("O João-de-barro", "O joão-de-barro"),
  "Node 20.10.3 e a versão 1.2.3 do pacote",
  "The build took 1234567 ms on port 8080 with status 404.",
  "A independência foi em 7 de setembro de 1822.",
  "listen on 127.0.0.1 and 0.0.0.0, mask 255.255.255.0",
  "The password is incorrect and my senha não funciona.",
  "O código está em https://example.com/docs/a?b=1#c",
  "pague R$ 1.249,90 em 10x de 124,99",
  "The ratio is 3/4 and the time 12:30:45.",
  "The exp claim is 1769528158.",
  "placa-mãe com soquete LGA-1700",
  "Ele vai ter 10/12 acertos",
  'Is "bcrypt" a good password hash?',
  "2 Railway, Suite 10; social contract of 100 20 3000 items",
  "I'm Brazilian and this is London. Olá! Tudo bem?",
  "Ligue para 0800 123 4567, é de graça.",
  "A Lei 13.709/2018, artigo 18, e a Lei 8.078",
  "o contrato de 2024 e o processo de 2019",
  "UUID 123e4567-e89b-12d3-a456-426614174000 in the log",
  "use HTTP/2, UTF-8, SHA-256 e AES-128",
  "for i in range(10000): x[i] = 0xdeadbeef",
];

describe("the anonymiser", () => {
  for (const [kind, ...texts] of cases) {
    it(`finds ${kind}`, () => {
      for (const text of texts) assert.equal(clean(text.replace(/[«»]/g, "")), normaliseText(text.replace(/«[^»]*»/gs, `[${kind}]`)), text);
    });
  }

  it("leaves alone what is nobody's", () => {
    for (const text of innocent) assert.equal(clean(text), normaliseText(text));
  });

  it("has a case for every kind of its table", () => {
    const tested = new Set(cases.map(([kind]) => kind));
    assert.deepEqual([...new Set(recognisers.map(({ kind }) => kind))].filter((kind) => !tested.has(kind) && kind !== "RENAVAM"), []);
  });

  it("replaces everywhere in a conversation what it recognised in one place", () => {
    const messages: Message[] = [
      { role: "system", content: "You help Fernanda Takahashi." },
      { role: "user", content: "Me chamo Fernanda Takahashi, prontuário 4821-A." },
      { role: "assistant", content: "Olá, Fernanda! FERNANDA, o 4821-A está aberto. Takahashi, certo?" },
    ];
    const { messages: clean, counts } = anonymiser.conversation({ messages });
    assert.deepEqual(clean.map(({ content }) => content), ["You help [NOME].", "Me chamo [NOME], prontuário [PACIENTE_ID].", "Olá, [NOME]! [NOME], o [PACIENTE_ID] está aberto. [NOME], certo?"]);
    assert.deepEqual(counts, { NOME: 5, PACIENTE_ID: 2 });
  });

  it("looks into tool calls, JSON in strings, keys, numbers and names", () => {
    const messages: Message[] = [
      { role: "user", name: "Joana Prado", content: [{ type: "text", text: "CPF 529.982.247-25" }] },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "call_1", type: "function", function: { name: "find_customer", arguments: JSON.stringify({ cpf: 52998224726, customerName: "zuleica", birth_date: "12/3/84", "joana@example.com": true, nested: { phone: "1133334444", pages: 12345678 } }) } }],
      },
      { role: "tool", tool_call_id: "call_1", content: '{"patient":{"prontuario":"48213","full name":"Joana Prado"}}' },
    ];
    const result = anonymiser.conversation({ messages, tools: [{ type: "function", function: { name: "find_customer", description: "mail ops@example.com" } }] });
    const text = JSON.stringify(result);
    for (const leak of ["529982247", "529.982", "zuleica", "12/3/84", "joana", "Joana", "1133334444", "48213", "ops@"]) assert.ok(!text.toLowerCase().includes(leak.toLowerCase()), `${leak} in ${text}`);
    assert.ok(text.includes("find_customer") && text.includes("call_1") && text.includes("12345678"), text);
    const call = result.messages[1]?.tool_calls?.[0]?.["function"] as { arguments: string };
    assert.doesNotThrow(() => void JSON.parse(call.arguments), "arguments stay JSON");
    assert.equal(result.messages[0]?.name, undefined);
  });

  it("changes no number that JSON can hold and a double can't", () => {
    const content = '{"total": 12345678901234567891, "cpf": 52998224725}';
    assert.equal(anonymiser.conversation({ messages: [{ role: "tool", content }] }).messages[0]?.content, '{"total": 12345678901234567891, "cpf": [CPF]}');
  });

  it("is at rest after one go: what it gave out it does not change again", async () => {
    const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
    for (const sample of samples.filter(({ kind }) => kind === "personal")) {
      const once = anonymiser.conversation({ messages: sample.messages });
      const twice = anonymiser.conversation({ messages: once.messages });
      assert.deepEqual(twice.counts, {}, sample.id);
    }
  });

  it("leaves no shape of a document, card, key, address or date in the personal samples", async () => {
    const shapes = /\d{3}\.\d{3}\.\d{3}-\d{2}|\d{2}\.\d{3}\.\d{3}\/|[\w.]+@[\w.]+\.\w|\d{4} \d{4} \d{4} \d{4}|\d{2}\/\d{2}\/\d{4}|\d{7}-\d{2}\.\d{4}|sk-(?:test|live)-\w|9\d{4}-\d{4}|\b\d{5}-\d{3}\b/;
    const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
    for (const sample of samples.filter(({ kind }) => kind === "personal")) {
      for (const text of anonymiser.conversation({ messages: sample.messages }).messages.map(textOf)) {
        const left = shapes.exec(text);
        // A technical answer may show a mask, an expression or 111.111.111-11 that looks like the thing.
        if (left !== null && !/^\D*(\d)(?:\D*\1)+$/.test(left[0]) && !/[*\\]/.test(text.slice(Math.max(0, left.index - 12), left.index + 20))) assert.fail(`${sample.id}: ${left[0]}`);
      }
    }
  });

  it("fails closed: an error of a recogniser is an error, without the text in it", () => {
    const broken = createAnonymiser([{ kind: "X", pattern: /secret/gu, check: () => { throw new Error("saw secret"); } }]);
    assert.throws(() => broken.text("a secret"), (error: unknown) => error instanceof PersonalDataError && !error.message.includes("secret"));
    const restless = createAnonymiser([{ kind: "B", pattern: /b(?=\[|$)/gu }]);
    assert.throws(() => restless.text("bbbbbbbb"), PersonalDataError, "a text that does not come to rest");
  });

  it("takes a recogniser of the user's as another row", () => {
    const own = createAnonymiser([...recognisers, { kind: "CRACHA", pattern: /(?<![\p{L}\p{N}])EMP-\d{3}(?![\p{L}\p{N}])/gu }]);
    assert.deepEqual(own.text("crachá EMP-123"), { text: "crachá [CRACHA]", counts: { CRACHA: 1 } });
  });

  it("does not slow down on hostile texts", () => {
    for (const text of ["a".repeat(60_000), "1".repeat(60_000), "1.".repeat(30_000), "Ana ".repeat(15_000), "a@".repeat(30_000), "A B ".repeat(15_000), "://a:".repeat(12_000), "-----BEGIN PRIVATE KEY-----".repeat(2_000), "Rua A ".repeat(10_000), "pedido is is is ".repeat(4_000)]) assert.equal(typeof clean(text), "string");
  });
});
