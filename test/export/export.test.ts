/** Adapters in other programs' forms, each opened by something else than what wrote it, and compared with what PEFT computed (test/golden). */
import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gguf } from "@huggingface/gguf";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { exportFormats } from "../../shared/export/formats.ts";
import { encodeGgufAdapter } from "../../shared/export/gguf.ts";
import { openModelFolder } from "../../shared/models/folder.ts";
import { hiddenStates, logitsOf } from "../../shared/models/transformer.ts";
import { openLanguageModel } from "../../shared/engine/language_model.ts";
import { readAdapter } from "../../shared/peft/adapter.ts";
import { compile } from "../../shared/tensor/compile.ts";
import { cases, openGolden, tensorOf, type Golden } from "../models/golden.ts";

let work: string;
before(async () => {
  work = await mkdtemp(join(tmpdir(), "everlora-export-"));
});
after(() => rm(work, { recursive: true }));

/** Largest difference, over the largest number. The goldens hold the last positions of a sequence only. */
function error(all: Float32Array, expected: ArrayLike<number>): number {
  const actual = all.subarray(all.length - expected.length);
  assert.ok(expected.length > 0 && actual.length === expected.length);
  let [off, most] = [0, 0];
  for (let at = 0; at < expected.length; at++) {
    off = Math.max(off, Math.abs((actual[at] ?? NaN) - (expected[at] ?? NaN)));
    most = Math.max(most, Math.abs(expected[at] ?? NaN));
  }
  return off / most;
}

const logitsName = (at: number) => `adapter.logits.${at}`;
const adapterOf = (golden: Golden) => readAdapter(golden.adapterFolder, golden.model.folder.config);

for (const name of cases) {
  test(`${name}: ONNX Runtime gives PEFT's logits for sequences of any length`, async () => {
    const golden = await openGolden(name);
    const out = join(work, `${name}-onnx`);
    await exportFormats.onnx.write(out, golden.model.folder, await adapterOf(golden));
    assert.deepEqual((await readdir(out)).sort(), ["model.onnx", "model.onnx.data"]);
    const session = await InferenceSession.create(join(out, "model.onnx"));
    assert.deepEqual([session.inputNames, session.outputNames], [["input_ids", "position_ids"], ["logits"]]);
    for (const [at, ids] of golden.sequences.entries()) {
      const row = (values: number[]) => new Tensor("int32", Int32Array.from(values), [1, ids.length]);
      const { logits } = await session.run({ input_ids: row([...ids]), position_ids: row(ids.map((_, position) => position)) });
      assert.ok(logits?.data instanceof Float32Array);
      assert.deepEqual(logits.dims, [1, ids.length, golden.model.folder.config.vocabSize]);
      assert.ok(error(logits.data, tensorOf(golden, logitsName(at)).values) < 1e-4, `sequence ${at}: ${error(logits.data, tensorOf(golden, logitsName(at)).values)}`);
    }
    await session.release();
  });

  test(`${name}: the merged folder is a model whose logits are PEFT's`, async () => {
    const golden = await openGolden(name);
    const out = join(work, `${name}-merged`);
    await exportFormats.merged.write(out, golden.model.folder, await adapterOf(golden));
    const merged = await openLanguageModel(out, join(work, "compiled"), { provider: "cpu", threads: 1 });
    const { config } = merged.folder;
    for (const [at, ids] of golden.sequences.entries()) {
      const spec = { shape: [1, ids.length], dtype: "int32" } as const;
      const compiled = await compile(merged.backend, [spec, spec, spec], (tokens, positions, segments) => {
        assert.ok(tokens && positions && segments);
        return [logitsOf(hiddenStates(tokens, positions, segments, merged.weights, null, config), merged.weights, config)];
      });
      const [logits] = await compiled.run([Int32Array.from(ids), Int32Array.from(ids.keys()), new Int32Array(ids.length).fill(1)]);
      await compiled.close();
      assert.ok(error(logits as Float32Array, tensorOf(golden, logitsName(at)).values) < 1e-4);
    }
  });

  test(`${name}: another reader finds the GGUF adapter's names, shapes and numbers as llama.cpp wants them`, async () => {
    const golden = await openGolden(name);
    const { config } = golden.model.folder;
    const adapter = await adapterOf(golden);
    const path = join(work, `${name}.gguf`);
    await exportFormats.gguf.write(path, golden.model.folder, adapter);
    const { metadata: read, tensorInfos, tensorDataOffset } = await gguf(path, { allowLocalFile: true });
    const metadata = read as unknown as Readonly<Record<string, unknown>>;
    const alpha = metadata["adapter.lora.alpha"] as number;
    assert.deepEqual([metadata["general.type"], metadata["general.architecture"], metadata["adapter.type"], alpha], ["adapter", "llama", "lora", adapter.config.lora_alpha]);
    assert.equal(tensorInfos.length, 2 * adapter.modules.size);
    const bytes = await readFile(path);
    const valuesOf = (wanted: string) => {
      const info = tensorInfos.find((each) => each.name === wanted) ?? assert.fail(wanted);
      const sides = info.shape.map(Number);
      const from = Number(tensorDataOffset) + Number(info.offset);
      const count = sides.reduce((product, side) => product * side, 1);
      return { sides, values: new Float32Array(bytes.buffer.slice(bytes.byteOffset + from, bytes.byteOffset + from + 4 * count)) };
    };
    const called = { "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down" } as const;
    for (const [module, { A, B, rank, scale, inputs, outputs }] of adapter.modules) {
      const [, layer = "", projection = ""] = /^model\.layers\.(\d+)\.(.+)$/.exec(module) ?? [];
      const base = `blk.${layer}.${called[projection as keyof typeof called]}.weight`;
      const [a, b] = [valuesOf(`${base}.lora_a`), valuesOf(`${base}.lora_b`)];
      assert.deepEqual([a.sides, b.sides], [[inputs, rank], [rank, outputs]]);
      assert.deepEqual(a.values, A);
      // convert_hf_to_gguf's permute: reshape(heads, 2, size / 2, …).swapaxes(1, 2)
      const heads = projection === "self_attn.q_proj" ? config.heads : projection === "self_attn.k_proj" ? config.keyValueHeads : null;
      const half = heads === null ? 0 : outputs / heads / 2;
      for (let row = 0; row < outputs; row++) {
        const [head, side, place] = [Math.floor(row / (2 * half)), Math.floor((row % (2 * half)) / half), row % half];
        const target = heads === null ? row : head * 2 * half + place * 2 + side;
        for (let at = 0; at < rank; at++) assert.ok(Math.abs(((b.values[target * rank + at] ?? NaN) * alpha) / rank - (B[row * rank + at] ?? NaN) * scale) < 1e-6, `${module}, row ${row}`);
      }
    }
  });
}

test("what GGUF has no name for is refused", async () => {
  const golden = await openGolden("tied");
  const adapter = await adapterOf(golden);
  assert.throws(() => encodeGgufAdapter(adapter, { ...golden.model.folder.config, modelType: "mamba" }), /no GGUF architecture for model_type "mamba"/);
  const [module] = adapter.modules.values();
  assert.throws(() => encodeGgufAdapter({ ...adapter, modules: new Map([["model.layers.0.self_attn.x_proj", module ?? assert.fail()]]) }, golden.model.folder.config), /no name for the module model.layers.0.self_attn.x_proj/);
});

test("a failed write leaves no weights behind that look whole", async () => {
  const golden = await openGolden("tied");
  const adapter = await adapterOf(golden);
  const out = join(work, "failed");
  const base = await openModelFolder(golden.model.folder.folder);
  async function* broken() {
    for await (const entry of base.eachWeight()) {
      yield entry;
      throw new Error("the disk is gone");
    }
  }
  await assert.rejects(exportFormats.merged.write(out, { ...base, eachWeight: broken }, adapter), /the disk is gone/);
  assert.deepEqual(await readdir(out), []);
  await writeFile(join(out, "x"), "");
});
