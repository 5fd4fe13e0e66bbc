import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { builtIn, cosine, fromBytes, toBytes } from "../../services/gateway/cache/embedding.ts";
import { gateOf } from "../../services/gateway/cache/gates.ts";
import { read, type Reading } from "../../services/gateway/cache/text.ts";
import { adversarialPairs, paraphrases } from "./adversarial/index.ts";

const embed = (reading: Reading) => builtIn.embed(reading) as Float32Array;

/** What the semantic tier asks of two prompts at the default settings. */
function meansTheSame(a: string, b: string): boolean {
  const [one, other] = [gateOf(read(a)), gateOf(read(b))];
  return one !== null && other !== null && one.facts === other.facts && one.words === other.words && cosine(embed(read(a)), embed(read(b))) >= 0.95;
}

const same: readonly (readonly [string, string])[] = [
  ["Qual é o prazo de entrega?", "qual e o prazo de entrega"],
  ["Qual é o prazo de entrega?", "Olá, bom dia! Qual o prazo de entrega?"],
  ["Como faço para trocar um produto?", "como eu posso trocar produto, por favor"],
  ["Como cancelar a assinatura", "COMO CANCELAR A ASSINATURA?"],
  ["O que é um contrato de locação?", "O que é contrato de locação"],
  ["Você pode me dizer qual é o horário de atendimento?", "qual o horário de atendimento?"],
  ["What is the return policy?", "what's the return policy"],
  ["How do I reset the password?", "How can I reset the password, please?"],
  ["Hi, could you tell me what the opening hours are?", "what the opening hours are"],
  ["I can't log in to the portal", "I cannot log in to the portal."],
  ["medicação", "medicação"],
];

const different: readonly (readonly [string, string, string])[] = [
  ["number", "Posso tomar 500 mg de dipirona?", "Posso tomar 1000 mg de dipirona?"],
  ["decimal", "A dose de 2,5 mg é segura para uma criança?", "A dose de 25 mg é segura para uma criança?"],
  ["date", "What are the rates for 12/03/2024?", "What are the rates for 03/12/2024?"],
  ["unit", "Can I give 5 mg of morphine to the patient?", "Can I give 5 ml of morphine to the patient?"],
  ["sign", "Is a temperature of -5 °C safe for the pump?", "Is a temperature of 5 °C safe for the pump?"],
  ["percent", "Quero 10% de desconto na compra", "Quero 10 de desconto na compra"],
  ["negation", "O paciente tem febre alta e tosse seca", "O paciente não tem febre alta e tosse seca"],
  ["without", "Dieta com glúten para celíacos", "Dieta sem glúten para celíacos"],
  ["negation moved", "Pay rent but not the deposit", "Do not pay rent but the deposit"],
  ["contraction", "Why does the server start?", "Why doesn't the server start?"],
  ["drug", "Can I take ibuprofen with alcohol in the evening after dinner at home?", "Can I take paracetamol with alcohol in the evening after dinner at home?"],
  ["prefix", "Sintomas de hipertensão arterial em idosos", "Sintomas de hipotensão arterial em idosos"],
  ["name", "Qual o telefone da Ana Souza no cadastro?", "Qual o telefone da Ana Santos no cadastro?"],
  ["capital", "How do I talk to Mark about it?", "How do I talk to mark about it?"],
  ["direction", "Como transferir da conta corrente para a poupança?", "Como transferir da poupança para a conta corrente?"],
  ["preposition", "How to move files to the old server", "How to move files from the old server"],
  ["before and after", "Devo tomar o remédio antes do almoço?", "Devo tomar o remédio depois do almoço?"],
  ["question word", "When was the contract signed?", "Where was the contract signed?"],
  ["who", "Can I see my record?", "Can you see my record?"],
  ["language", "menu principal", "menu principal para"],
  ["accent", "Quantos anos tem minha avó?", "Quantos anos tem meu avô?"],
  ["only an accent", "Como cuidar do avô?", "Como cuidar do avó?"],
  ["cedilla", "Onde compro uma faca?", "Onde compro uma faça?"],
  ["symbol", "How do I compile C++?", "How do I compile C#?"],
  ["dot", "install .NET on linux", "install NET on linux"],
  ["inner capital", "how to open iOS settings", "how to open ios settings"],
  ["duty and thanks", "Sou obrigado a pagar a multa?", "Sou a pagar a multa?"],
];

describe("second gate of the semantic cache", () => {
  for (const [a, b] of same) it(`takes as one: ${a} | ${b}`, () => assert.ok(meansTheSame(a, b)));
  for (const [why, a, b] of different) it(`keeps apart by ${why}: ${a} | ${b}`, () => assert.ok(!meansTheSame(a, b)));

  it("compares nothing where nothing is said", () => {
    for (const empty of ["Olá!", "😀", "  ", "?"]) assert.equal(gateOf(read(empty)), null, empty);
  });
});

describe("adversarial pairs", () => {
  const pairs = adversarialPairs();

  it("are many and of many kinds, in both languages", () => {
    assert.ok(new Set(pairs.map(({ one, other }) => [one, other].sort().join("|"))).size >= 1_000);
    for (const kind of ["number", "date", "name", "negation", "dose", "drug", "unit", "antonym", "direction", "order", "language"]) assert.ok(pairs.filter((pair) => pair.kind === kind).length >= 10, kind);
  });

  it("never hit", () => {
    const hits = pairs.filter(({ one, other }) => meansTheSame(one, other));
    assert.deepEqual(hits.map(({ one, other }) => `${one} | ${other}`), []);
  });

  it("would hit by their vectors alone, many of them", () => {
    assert.ok(pairs.filter(({ one, other }) => cosine(embed(read(one)), embed(read(other))) >= 0.95).length > 100);
  });

  it("are told from questions that do mean the same: a third of those hit", () => {
    const same = paraphrases();
    assert.ok(same.filter(({ one, other }) => meansTheSame(one, other)).length >= same.length / 3);
  });
});

describe("built-in embedding", () => {
  it("gives unit vectors that don't depend on case, accents or Unicode form", () => {
    const vector = embed(read("A medicação está disponível"));
    assert.ok(Math.abs(cosine(vector, vector) - 1) < 1e-6);
    assert.deepEqual(embed(read("A MEDICAC\u0327A\u0303O ESTA DISPONIVEL")), vector);
  });

  it("is nearer for near spelling than for another question", () => {
    const question = embed(read("How do I renew my passport online?"));
    const near = cosine(question, embed(read("How do I renew my passport by post?")));
    const far = cosine(question, embed(read("Which antibiotics cause dizziness?")));
    assert.ok(near > far + 0.3, `${near} against ${far}`);
  });

  it("survives the way through Redis, and refuses bytes of another embedding", () => {
    const vector = embed(read("prazo de entrega"));
    assert.deepEqual(fromBytes(toBytes(vector), 384), vector);
    assert.equal(fromBytes(Buffer.alloc(1536 + 4), 384), undefined);
  });
});
