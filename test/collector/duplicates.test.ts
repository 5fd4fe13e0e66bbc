import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { contentId, createDuplicates } from "../../services/collector/deduplicate/duplicates.ts";
import { canonicalText } from "../../services/collector/deduplicate/fold.ts";
import { sketchOf, similarity } from "../../services/collector/deduplicate/minhash.ts";
import { projectRoot } from "../../shared/config/settings.ts";
import { loadSamples } from "../../shared/datasets/samples.ts";
import { textOf, type Message } from "../../shared/events/conversation.ts";

const grams = (text: string) => {
  const canonical = canonicalText(text);
  return new Set(Array.from({ length: Math.max(1, canonical.length - 4) }, (_, at) => canonical.slice(at, at + 5)));
};
const jaccard = (a: string, b: string) => {
  const [left, right] = [grams(a), grams(b)];
  const shared = [...left].filter((gram) => right.has(gram)).length;
  return shared / (left.size + right.size - shared);
};
const messagesOf = (user: string, assistant: string, system?: string): Message[] => [...(system === undefined ? [] : [{ role: "system" as const, content: system }]), { role: "user", content: user }, { role: "assistant", content: assistant }];
const contentOf = (messages: Message[], createdAt = 0) => ({ id: contentId(messages), cluster: `cluster of ${textOf(messages.at(-2) ?? { role: "user" })}`, createdAt, messages });

describe("MinHash", () => {
  it("estimates the Jaccard similarity of character 5-grams", async () => {
    const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
    const texts = samples.filter(({ kind }) => kind === "plain").slice(0, 60).map(({ messages }) => messages.map(textOf).join("\n"));
    let worst = 0;
    for (const [at, text] of texts.entries()) {
      // From nearly equal to quite different: cut off more and more.
      const other = text.slice(0, Math.ceil(text.length * (1 - at / 100))) + (texts[(at + 1) % texts.length] ?? "").slice(0, at);
      worst = Math.max(worst, Math.abs(similarity(sketchOf(text).words, sketchOf(other).words) - jaccard(text, other)));
    }
    assert.ok(worst < 0.16, `off by ${worst}`);
  });

  it("takes case, accents' spelling, punctuation and spaces for nothing", () => {
    assert.deepEqual(sketchOf("Olá,  Mundo! Como vai?"), sketchOf("olá mundo como vai".normalize("NFD")));
    assert.notDeepEqual(sketchOf("olá mundo como vai"), sketchOf("olá mundo como foi"));
    assert.equal(similarity(sketchOf("").words, sketchOf("").words), 1);
  });
});

describe("the search for duplicates", () => {
  it("finds the same content and nearly the same, and tells them apart", () => {
    const duplicates = createDuplicates();
    const first = contentOf(messagesOf("Como cancelo meu contrato de aluguel antes do prazo?", "Avise por escrito com trinta dias e pague a multa proporcional prevista na lei do inquilinato."));
    duplicates.add(first);
    assert.deepEqual(duplicates.find(contentOf(messagesOf("Como cancelo meu contrato de aluguel  antes do prazo? ", "Avise por escrito com trinta dias e pague a multa proporcional prevista na lei do inquilinato.")))?.reason, "duplicate");
    const near = duplicates.find(contentOf(messagesOf("como cancelo o meu contrato de aluguel antes do prazo, por favor", "Avise por escrito com trinta dias e pague a multa proporcional prevista na lei do inquilinato!")));
    assert.deepEqual(near, { reason: "near_duplicate", cluster: first.cluster, createdAt: 0 });
    assert.equal(duplicates.find(contentOf(messagesOf("Como cancelo meu plano de internet?", "Ligue para a operadora e peça o protocolo."))), null);
  });

  it("is not misled by a long system prompt that all conversations share", () => {
    const system = "You are the assistant of a shop. ".repeat(100);
    const duplicates = createDuplicates();
    duplicates.add(contentOf(messagesOf("Where is the nearest branch of the shop?", "In the Rua Augusta, next to the cinema.", system)));
    assert.equal(duplicates.find(contentOf(messagesOf("Do you sell bicycles for children?", "Yes, from the size of twelve inches on.", system))), null);
  });

  it("finds every near-duplicate of the samples, and no other", async () => {
    const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
    const duplicates = createDuplicates();
    for (const sample of samples) {
      if (sample.kind === "junk") continue;
      const content = { id: contentId(sample.messages), cluster: sample.id, createdAt: 0, messages: sample.messages };
      const match = duplicates.find(content);
      assert.deepEqual(match?.cluster ?? null, sample.kind === "near-duplicate" ? (sample.of ?? "") : null, sample.id);
      if (match === null) duplicates.add(content);
    }
  });
});

describe("the index of duplicates, when it grows", () => {
  const word = (number: number) => contentId([{ role: "user", content: String(number) }]).replace(/[0-9]/g, (digit) => "ghijklmnop"[Number(digit)] ?? "");
  const own = (number: number) => contentOf(messagesOf(`${word(number)} ${word(number + 1e6)} ${word(number + 2e6)}`, `${word(number + 3e6)} ${word(number + 4e6)}`), number);

  it("finds rows of every segment, by id and by likeness, and stays under 300 bytes a row", () => {
    const duplicates = createDuplicates();
    const rows = 14_000; // three segments
    for (let number = 0; number < rows; number++) {
      const content = own(number);
      if (number % 97 === 0) assert.equal(duplicates.find(content), null, "nothing like it is there");
      duplicates.add(content);
    }
    assert.equal(duplicates.size, rows);
    assert.ok(duplicates.bytes / 28_672 < 300, `${duplicates.bytes} bytes`);
    for (const number of [0, 4_095, 4_096, 12_287, 12_288, rows - 1]) {
      const content = own(number);
      assert.deepEqual(duplicates.find(content), { reason: "duplicate", cluster: content.cluster, createdAt: number });
      const near = messagesOf(`${textOf(content.messages[0] ?? { role: "user" })} ok`, textOf(content.messages[1] ?? { role: "user" }));
      assert.deepEqual(duplicates.find(contentOf(near)), { reason: "near_duplicate", cluster: content.cluster, createdAt: number });
    }
  });

  it("finds the same rows on disk, and keeps little of them in memory", async () => {
    const folder = await mkdtemp(join(tmpdir(), "everlora-duplicates-"));
    const [inMemory, onDisk] = [createDuplicates(), createDuplicates({ folder }, 1_024)];
    try {
      const rows = 8_000; // seven segments, of which five are on disk
      for (let number = 0; number < rows; number++) for (const duplicates of [inMemory, onDisk]) duplicates.add(own(number));
      assert.equal(onDisk.size, rows);
      assert.deepEqual(await readdir(folder), [], "the files have no name");
      for (let number = 0; number < rows; number += 37) {
        const content = own(number);
        assert.deepEqual(onDisk.find(content), { reason: "duplicate", cluster: content.cluster, createdAt: number });
        const near = contentOf(messagesOf(`${textOf(content.messages[0] ?? { role: "user" })} ok`, textOf(content.messages[1] ?? { role: "user" })));
        assert.deepEqual(onDisk.find(near), inMemory.find(near));
        assert.equal(onDisk.find(near)?.reason, "near_duplicate");
        assert.equal(onDisk.find(own(rows + number)), null);
      }
      onDisk.add({ ...own(3), createdAt: 99_999, cluster: "another" });
      assert.deepEqual(onDisk.find(own(3)), { reason: "duplicate", cluster: own(3).cluster, createdAt: 99_999 });
      assert.ok(onDisk.bytes < inMemory.bytes / 2, `${onDisk.bytes} of ${inMemory.bytes} bytes`);
    } finally {
      onDisk.close();
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("knows a row that came again by its youngest time, and keeps its first cluster", () => {
    const duplicates = createDuplicates();
    duplicates.add({ ...own(1), createdAt: 5 });
    duplicates.add({ ...own(1), createdAt: 9, cluster: "another" });
    assert.deepEqual(duplicates.find(own(1)), { reason: "duplicate", cluster: own(1).cluster, createdAt: 9 });
    assert.equal(duplicates.size, 1);
  });
});
