/** The decoder gives every family's golden logits (test/golden/make_families.py): two sequences of different lengths in one batch, sliding windows included. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { z } from "zod";
import { Decoder } from "../../shared/engine/decoder.ts";
import { adapterParameters, openLanguageModel } from "../../shared/engine/language_model.ts";
import { readSafetensors } from "../../shared/models/safetensors.ts";
import { readAdapter } from "../../shared/peft/adapter.ts";
import { Closeness, goldenFolder } from "./golden.ts";

const families = join(goldenFolder, "families");
const goldenSchema = z.object({ weights: z.string(), sequences: z.array(z.array(z.int())).length(3) });

let work = "";
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-decode-families-"));
});
after(() => rm(work, { recursive: true, force: true }));

for (const name of (await readdir(families)).sort()) {
  test(`${name}: prompts read and continued side by side, base and adapter in one batch`, async (t) => {
    const golden = goldenSchema.parse(JSON.parse(await readFile(join(families, name, "golden.json"), "utf8")));
    const folder = join(work, name);
    await cp(join(families, golden.weights), folder, { recursive: true });
    await cp(join(families, name, "config.json"), join(folder, "config.json"));
    for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) await cp(join(goldenFolder, "tokenizers", "toy", file), join(folder, file));
    const model = await openLanguageModel(folder, join(work, "compiled"), { provider: "cpu", threads: 1 });
    const expected = await readSafetensors(join(families, name, "expected.safetensors"));
    const { vocabSize } = model.folder.config;
    const adapter = adapterParameters(await readAdapter(join(families, name, "adapter"), model.folder.config));
    const decoder = new Decoder(model);
    const close = new Closeness(2e-5);

    const rows = [];
    for (const [at, prefix, parameters] of [[1, "logits", []], [2, "logits", []], [2, "adapter.logits", adapter]] as const) {
      const ids = golden.sequences[at] ?? [];
      const wanted = expected.get(`${prefix}.${at}`)?.values ?? new Float32Array(0);
      const kept = wanted.length / vocabSize;
      assert.ok(kept >= 4);
      const from = ids.length - kept + 1;
      const { sequence, logits } = await decoder.start(ids.slice(0, from), parameters);
      close.check(`${prefix}.${at} after the prompt`, logits, wanted.subarray(0, vocabSize));
      rows.push({ what: `${prefix}.${at}`, sequence, rest: ids.slice(from), wanted });
    }
    for (let step = 0; rows.some(({ rest }) => step < rest.length); step++) {
      const running = rows.filter(({ rest }) => step < rest.length);
      const logits = await decoder.stepAll(running.map(({ sequence, rest }) => ({ sequence, token: rest[step] ?? 0 })));
      running.forEach(({ what, wanted }, at) => close.check(`${what}, step ${step + 1}`, logits[at] ?? [], wanted.subarray((step + 1) * vocabSize, (step + 2) * vocabSize)));
    }
    for (const { sequence } of rows) decoder.close(sequence);
    close.report(t);
  });
}
