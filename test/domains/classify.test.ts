import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { projectRoot } from "../../shared/config/settings.ts";
import { loadSamples } from "../../shared/datasets/samples.ts";
import { classify, explain } from "../../shared/domains/classify.ts";
import { loadDomains, type Domain } from "../../shared/domains/domains.ts";
import { wordsOf } from "../../shared/domains/words.ts";
import { textOf } from "../../shared/events/conversation.ts";

const domains = loadDomains();
const domainOf = (text: string) => classify(text, domains).domain;

describe("classify", () => {
  it("sorts plain questions of both languages", () => {
    assert.equal(domainOf("Why does my PostgreSQL query time out when the index is there?"), "technical");
    assert.equal(domainOf("O servidor devolve erro 500 quando a API recebe JSON vazio"), "technical");
    assert.equal(domainOf("Meu pedido não chegou e quero reembolso"), "support");
    assert.equal(domainOf("Can I get a refund for the order that never arrived?"), "support");
    assert.equal(domainOf("O inquilino pode rescindir o contrato de aluguel sem multa?"), "legal");
    assert.equal(domainOf("Can my landlord evict me without a court ruling?"), "legal");
    assert.equal(domainOf("Estou com febre e dor de garganta, qual a dose de paracetamol?"), "medical");
    assert.equal(domainOf("Which symptoms of the flu need a doctor?"), "medical");
    assert.equal(domainOf("What is a good recipe for carrot cake?"), "general");
  });

  it("abstains to general without evidence and between two domains", () => {
    for (const text of ["", "   ", "12345", "Bom dia!", "zzz qqq"]) assert.deepEqual({ ...classify(text, domains), language: "" }, { domain: "general", score: 0, abstained: true, language: "" }, text);
    const torn = classify("advogado e médico", [
      { name: "a", description: "", keywords: { pt: { advogado: 3 } } },
      { name: "b", description: "", keywords: { pt: { médico: 3 } } },
    ]);
    assert.equal(torn.abstained, true);
    assert.equal(torn.domain, "general");
  });

  it("finds a word with and without accents, composed and decomposed, in capitals and in the plural", () => {
    const forms = ["a cláusula do contrato", "a clausula do contrato", "a cláusula do contrato".normalize("NFD"), "AS CLÁUSULAS DO CONTRATO", "as clausulas dos contratos"];
    for (const form of forms) assert.equal(domainOf(form), "legal", form);
    const actions: Domain[] = [{ name: "x", description: "", keywords: { pt: { função: 3 } } }];
    for (const form of ["função", "funções", "funcao", "FUNCOES"]) assert.equal(classify(form, actions).domain, "x", form);
  });

  it("keeps word boundaries of letters with accents, and digits", () => {
    const table: Domain[] = [{ name: "x", description: "", keywords: { any: { s3: 3, "c++": 3 }, pt: { "=dor": 3 } } }];
    assert.equal(classify("servidor, corredor, labrador, dória", table).domain, "general");
    assert.equal(classify("a dor", table).domain, "x");
    assert.equal(classify("bucket s3", table).domain, "x");
    assert.equal(classify("bucket s4", table).domain, "general");
    assert.equal(classify("I write C++ all day", table).domain, "x");
  });

  it("does not count a topic that the writer denies", () => {
    for (const text of ["não é sobre meu pedido nem sobre reembolso", "I don't need a lawyer.", "It's not about a refund.", "This has nothing to do with my order", "Não preciso de advogado."]) {
      assert.deepEqual(explain(text, domains).evidence.filter((found) => found.domain === "support" || found.domain === "legal"), [], text);
    }
    assert.equal(domainOf("Não é sobre meu pedido: a API devolve erro e o servidor cai"), "technical");
    assert.equal(domainOf("I don't need a lawyer, just the refund for my order"), "support");
  });

  it("counts a topic that a plain negation stands beside", () => {
    assert.equal(domainOf("O paciente não tem febre, mas tem tosse"), "medical");
    assert.equal(domainOf("Não consigo redefinir a senha da minha conta"), "support");
    assert.equal(domainOf("My code does not compile"), "technical");
  });

  it("leaves out keywords inside an excluded phrase", () => {
    assert.equal(domainOf("The court order says that the tenant must leave"), "legal");
    assert.ok(!explain("in order to win", domains).evidence.some((found) => found.domain === "support"));
  });

  it("tells Portuguese from English", () => {
    const languageOf = (text: string) => classify(text, domains).language;
    assert.equal(languageOf("Como eu faço para cancelar a assinatura?"), "pt");
    assert.equal(languageOf("How do I cancel the subscription?"), "en");
    assert.equal(languageOf("x = 1"), "unknown");
    assert.equal(languageOf(""), "unknown");
    assert.equal(languageOf("como faco deploy do container com docker compose"), "pt");
  });

  it("reads no more of a giant text than it needs", () => {
    const giant = `Meu pedido não chegou, quero reembolso. ${"palavra ".repeat(500_000)}`;
    assert.equal(classify(giant, domains).domain, "support");
  });

  it("leaves a word unstemmed only where no keyword could be its stem: on each word of the samples and of the table", async () => {
    const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
    const texts = [...samples.flatMap(({ messages }) => messages.map(textOf)), JSON.stringify(domains), "moving very lesões opções salões rating only studies agências jurídico"];
    const words = new Set(texts.flatMap((text) => wordsOf(text).map(({ lexeme }) => lexeme)));
    assert.ok(words.size > 8_000, `${words.size} words`);
    let matched = 0;
    for (const { text, exact, en, pt } of words) {
      const stems = pt.filter((stem) => stem.length >= 4);
      if (en.length >= 4) for (const stem of [en]) assert.ok([exact.slice(0, 4), `${exact.slice(0, 3)}e`, `${exact.slice(0, 3)}i`].includes(stem.slice(0, 4)), `${text} → ${stem}`);
      for (const stem of stems) assert.ok([exact.slice(0, 4), `${exact.slice(0, 3)}a`].includes(stem.slice(0, 4)), `${text} → ${stem}`);
      matched += stems.length;
    }
    assert.ok(matched > 4_000);
  });

  it("agrees with people on at least 90 % of the samples, from the question alone and from the whole conversation", async (test) => {
    const samples = (await loadSamples(join(projectRoot, "shared", "datasets", "samples"))).filter((sample) => sample.kind !== "junk");
    assert.ok(samples.length >= 500);
    for (const [what, roles] of [["question", ["user"]], ["conversation", ["user", "assistant"]]] as const) {
      const confusion = new Map<string, Map<string, number>>();
      let right = 0;
      let language = 0;
      for (const sample of samples) {
        const text = sample.messages.filter((message) => (roles as readonly string[]).includes(message.role)).map(textOf).join("\n");
        const result = classify(text, domains);
        if (result.domain === sample.domain) right++;
        if (result.language === sample.language) language++;
        const row = confusion.get(sample.domain) ?? new Map<string, number>();
        confusion.set(sample.domain, row.set(result.domain, (row.get(result.domain) ?? 0) + 1));
      }
      test.diagnostic(`${what}: ${right}/${samples.length} right, language ${language}/${samples.length}`);
      for (const [truth, row] of confusion) test.diagnostic(`  ${truth} sorted into ${[...row].map(([name, count]) => `${name} ${count}`).join(", ")}`);
      assert.ok(right / samples.length >= 0.9, `${what}: ${right}/${samples.length}`);
      assert.ok(language / samples.length >= 0.97, `${what}: language ${language}/${samples.length}`);
    }
  });
});
