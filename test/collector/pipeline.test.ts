import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { createAnonymiser } from "../../shared/anonymise/anonymiser.ts";
import { createDuplicates } from "../../services/collector/deduplicate/duplicates.ts";
import { isNormal, normaliseConversation } from "../../services/collector/pipeline/normalise.ts";
import { normaliseText } from "../../shared/anonymise/normalise.ts";
import { conversationKey, processConversation, type PipelineParts } from "../../services/collector/pipeline/pipeline.ts";
import { projectRoot } from "../../shared/config/settings.ts";
import { loadSamples } from "../../shared/datasets/samples.ts";
import { rowSchema, type Row } from "../../shared/datasets/row.ts";
import { loadDomains } from "../../shared/domains/domains.ts";
import { textOf, type Conversation } from "../../shared/events/conversation.ts";
import { aboutLaw, say } from "./support.ts";

const parts: PipelineParts = { anonymiser: createAnonymiser(), domains: loadDomains(), heldOutShare: 0.15, days: 30 };
const now = Date.UTC(2026, 10, 20);
const day = 86_400_000;
const process = (conversation: Conversation, duplicates = createDuplicates(), change: Partial<PipelineParts> = {}) => processConversation(conversation, duplicates, { ...parts, ...change }, now);
const rowOf = (...given: Parameters<typeof process>): Row => {
  const outcome = process(...given);
  return outcome.kind === "row" ? outcome.row : assert.fail(outcome.reason);
};

describe("the pipeline", () => {
  it("makes a row that is what the schema says, with everything that is known of it", () => {
    const row = rowOf(
      say("chat-1", "Meu locador quer rescindir o contrato de aluguel. Sou Ana Souza, CPF 529.982.247-25.", "Ana, a lei do inquilinato exige aviso prévio por escrito.", { createdAt: now - day, source: "upstream", model: "teacher-1", caller: "ab".repeat(32), tools: [{ type: "function", function: { name: "find_law" } }] }),
    );
    assert.deepEqual(rowSchema.parse(row), row);
    assert.deepEqual(
      { ...row, id: "", cluster: "", split: "" },
      {
        version: 1, id: "", conversation: "chat-1", domain: "legal", language: "pt",
        messages: [
          { role: "user", content: "Meu locador quer rescindir o contrato de aluguel. Sou [NOME], CPF [CPF]." },
          { role: "assistant", content: "[NOME], a lei do inquilinato exige aviso prévio por escrito." },
        ],
        tools: [{ type: "function", function: { name: "find_law" } }],
        split: "", cluster: "", source: "upstream", model: "teacher-1", generation: null, caller: "ab".repeat(32), createdAt: now - day, collectedAt: now, anonymised: { NOME: 2, CPF: 1 },
      },
    );
    assert.equal(row.cluster, row.id);
  });

  it("gives the same content the same id and side", () => {
    const [a, b] = [rowOf(aboutLaw(1)), rowOf({ ...aboutLaw(1), id: "another", model: "x" })];
    assert.deepEqual([a.id, a.split], [b.id, b.split]);
  });

  it("drops junk with the domain that it would have had, and never a word of it", () => {
    const outcome = process(say("x", "Cadê meu pedido? Quero reembolso da entrega.", "502 Bad Gateway"));
    assert.deepEqual(outcome, { kind: "drop", domain: "support", reason: "error_page", conversation: conversationKey("x") });
  });

  it("drops what the anonymiser can't vouch for", () => {
    const broken = createAnonymiser([{ kind: "X", pattern: /./gu, check: () => { throw new Error("broken"); } }]);
    const outcome = process(aboutLaw(1), createDuplicates(), { anonymiser: broken });
    assert.equal(outcome.kind === "drop" && outcome.reason, "personal_data_failure");
  });

  it("writes ids, callers and models that could tell about a person as hashes or placeholders", () => {
    const row = rowOf({ ...aboutLaw(1), id: "maria@example.com/1", caller: "maria@example.com", model: "gpt for maria@example.com" });
    assert.ok(!JSON.stringify(row).includes("maria@"));
    assert.equal(row.conversation, `sha256:${conversationKey("maria@example.com/1")}`);
  });

  it("drops duplicates of what is in the window, and renews what has left it, on the same side", () => {
    const duplicates = createDuplicates();
    const old = rowOf({ ...aboutLaw(1), createdAt: now - 40 * day });
    duplicates.add(old);
    const again = rowOf({ ...aboutLaw(1), id: "renewed", createdAt: now - day }, duplicates);
    assert.deepEqual([again.id, again.cluster, again.split], [old.id, old.cluster, old.split]);
    duplicates.add(again);
    const third = process({ ...aboutLaw(1), id: "third", createdAt: now }, duplicates);
    assert.equal(third.kind === "drop" && third.reason, "duplicate");
    const alsoOld = process({ ...aboutLaw(1), id: "old", createdAt: now - 50 * day }, duplicates);
    assert.equal(alsoOld.kind === "drop" && alsoOld.reason, "duplicate");
  });

  it("does not take placeholders for keywords", () => {
    const row = rowOf(say("x", "Anote por favor: 0001234-56.2024.8.26.0100 e 0001235-41.2024.8.26.0100, para eu lembrar amanhã cedo.", "Anotado: 0001234-56.2024.8.26.0100 e 0001235-41.2024.8.26.0100."));
    assert.equal(row.anonymised["PROCESSO"], 4);
    assert.equal(row.domain, "general");
  });
});

describe("normalising", () => {
  it("makes one spelling of what looks the same", () => {
    assert.equal(normaliseText("  cafe\u0301\u00a0com\u200b leite\r\n\r\n\r\n\r\nfim \t\n\u202eX\u0007 "), "café com leite\n\nfim\nX");
    assert.equal(normaliseText("５２９．９８２－２５ ٣٤ 98765–4321"), "529.982-25 34 98765-4321");
    assert.equal(normaliseText("👩\u200d💻 e 5\u200d2"), "👩\u200d💻 e 52");
    assert.equal(normaliseText("if x:\n    return  1"), "if x:\n    return  1", "inner spaces are code");
  });

  it("changes texts wherever they are and nothing else", () => {
    const given = { ...aboutLaw(1), tools: [{ type: "function", function: { name: "f", strict: true, n: 1 } }], finishReason: "stop" };
    assert.deepEqual(normaliseConversation(given), given);
  });
});

describe("a text that needs no normalising", () => {
  it("is known by one look, and only then left alone", async () => {
    const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
    const texts = samples.flatMap(({ messages }) => messages.map(textOf));
    const odd = ["", " a", "a ", "a \nb", "a\t\nb", "a\n\n\nb", "a\n\nb", "a\r\nb", "e\u0301", "\u00e9", "5\u20111", "a\u2013b", "1\u20132", "a\u200bb", "\uff15", "a\u00a0b", "\u00adx", "\u0660", "x\u{1d7d8}", "\ufb01", "a\u2028b", "日本語", "\u1100\u1161", "a\u0000b", "“a” ‘b’ … €5"];
    const joined = odd.flatMap((one) => odd.map((other) => `${one}${other}`));
    for (const text of [...texts, ...odd, ...joined, ...texts.map((each) => each.normalize("NFD"))]) if (isNormal(text)) assert.equal(normaliseText(text), text, JSON.stringify(text));
    const known = texts.map(normaliseText).filter(isNormal).length;
    assert.ok(known > texts.length * 0.8, `${known} of ${texts.length}`);
  });
});
