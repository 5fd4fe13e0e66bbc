/** Damaged tokenizer files: what can be opened can be used, and the rest is refused as the folder's fault, not as a crash. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { EverloraError } from "../../shared/errors/errors.ts";
import { createRandom } from "../../shared/models/random.ts";
import { loadTokenizer } from "../../shared/tokenizer/tokenizer.ts";
import { goldenFolder } from "../models/golden.ts";
import { mutateJson } from "../support/mutate.ts";

const kinds = ["toy", "qwen", "gemma", "mistral", "smollm2"];
const rounds = 40;

/** The same tokenizer with a vocabulary of a few words: damage shall hit the settings, not the thousandth word. */
function shorten(json: Record<string, unknown>): Record<string, unknown> {
  const model = json["model"] as { vocab: Record<string, number>; merges: unknown[] };
  const kept = Object.entries(model.vocab).slice(0, 300);
  return { ...json, model: { ...model, vocab: Object.fromEntries(kept), merges: model.merges.slice(0, 5).filter((merge) => [merge].flat().join("").length < 3) } };
}

for (const kind of kinds) {
  test(`${kind}: ${rounds} damaged folders`, async () => {
    const work = await mkdtemp(join(tmpdir(), "everlora-fuzz-"));
    try {
      const random = createRandom(kind.length);
      const read = async (name: string) => JSON.parse(await readFile(join(goldenFolder, "tokenizers", kind, name), "utf8")) as Record<string, unknown>;
      const [tokenizer, config] = [await read("tokenizer.json"), await read("tokenizer_config.json")];
      await writeFile(join(work, "chat_template.jinja"), await readFile(join(goldenFolder, "tokenizers", kind, "chat_template.jinja")));
      const small = tokenizer["model"] === undefined ? tokenizer : shorten(tokenizer);
      // The words are the most by far; half of the damage goes elsewhere.
      const withoutWords = { ...small, model: { ...(small["model"] as object), vocab: undefined } };
      let usable = 0;
      for (let round = 0; round < rounds; round++) {
        let damaged = round % 2 === 0 ? mutateJson(small, random) : mutateJson(withoutWords, random);
        if (round % 2 === 1 && typeof damaged === "object" && damaged !== null && "model" in damaged && typeof damaged.model === "object" && damaged.model !== null) damaged = { ...damaged, model: { ...damaged.model, vocab: (small["model"] as { vocab: unknown }).vocab } };
        await writeFile(join(work, "tokenizer.json"), JSON.stringify(damaged));
        await writeFile(join(work, "tokenizer_config.json"), JSON.stringify(round % 5 === 0 ? mutateJson(config, random) : config));
        try {
          const opened = await loadTokenizer(work);
          const { ids, spoken } = opened.conversation([{ role: "user", content: "Olá, 12 casas 🙂" }, { role: "assistant", content: "sim\n" }]);
          assert.equal(ids.length, spoken.length);
          assert.ok(ids.every((id) => Number.isInteger(id) && id >= 0 && id < opened.vocabularySize), `${JSON.stringify(ids)} of ${opened.vocabularySize}`);
          assert.equal(typeof opened.decode(ids), "string");
          usable++;
        } catch (error) {
          assert.ok(error instanceof EverloraError && ["invalid_model_folder", "invalid_request"].includes(error.code), `${JSON.stringify(damaged).slice(0, 3_000)}\n${error instanceof Error ? error.stack : String(error)}`);
        }
      }
      assert.ok(usable > rounds / 4 && usable < rounds, `${usable} usable`);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
}
