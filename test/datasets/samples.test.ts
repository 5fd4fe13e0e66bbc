import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { projectRoot } from "../../shared/config/settings.ts";
import { loadSamples, readSampleFile } from "../../shared/datasets/samples.ts";
import { textOf } from "../../shared/events/conversation.ts";

describe("the sample conversations", () => {
  it("are at least 500 good ones, in five domains and two languages, with distinct ids and questions", async () => {
    const samples = await loadSamples(join(projectRoot, "shared", "datasets", "samples"));
    assert.equal(new Set(samples.map((sample) => sample.id)).size, samples.length);
    const good = samples.filter((sample) => sample.kind === "plain" || sample.kind === "personal");
    assert.ok(good.length >= 500);
    for (const domain of ["technical", "support", "legal", "medical", "general"]) {
      for (const language of ["pt", "en"] as const) assert.ok(good.filter((sample) => sample.domain === domain && sample.language === language).length >= 50, `${domain} ${language}`);
    }
    assert.equal(new Set(good.map((sample) => sample.messages.map(textOf).join("\n"))).size, good.length);
    const byId = new Map(samples.map((sample) => [sample.id, sample]));
    for (const sample of samples) if (sample.kind === "near-duplicate") assert.ok(byId.has(sample.of ?? ""), sample.id);
  });

  it("names file and line of what is no sample", async () => {
    const folder = await mkdtemp(join(tmpdir(), "everlora-samples-"));
    try {
      const path = join(folder, "x.jsonl");
      await writeFile(path, `${JSON.stringify({ id: "x", language: "pt", domain: "x", kind: "plain", messages: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }] })}\n{"id":"y"}\n`);
      await assert.rejects(readSampleFile(path), /x\.jsonl, line 2: /);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
