/**
 * The golden cases once more on ONNX Runtime's WebGPU provider, with the same limits: logits, gradients, ten steps of AdamW, and decoding are Hugging Face's there,
 * too. A driver in software is enough, for example SwiftShader of Debian's chromium-common: VK_ICD_FILENAMES=…/vk_swiftshader_icd.json.
 * Each in a process of its own: a process has one device.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { parentEnvironment, projectRoot } from "../../shared/config/settings.ts";

const run = promisify(execFile);
const device = new URL("../../shared/tensor/device.ts", import.meta.url).href;
/** Within a test's environment a test file reports to its parent and not in words. */
const { NODE_TEST_CONTEXT: _, ...environment } = parentEnvironment();

let missing: string | null = null;
before(async () => {
  const look = `const { chooseDevice } = await import(${JSON.stringify(device)}); try { chooseDevice("webgpu", 1); } catch (error) { process.stdout.write(error.message); }`;
  const { stdout } = await run(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", look], { cwd: projectRoot, env: environment });
  missing = stdout === "" ? null : stdout;
});

for (const name of ["golden_logits", "golden_training", "golden_decoding"]) {
  test(`${name} on WebGPU`, async (t) => {
    if (missing !== null) {
      t.skip(missing);
      return;
    }
    const file = fileURLToPath(new URL(`./${name}.test.ts`, import.meta.url));
    const { stdout } = await run(process.execPath, ["--import", "tsx", "--test", "--test-reporter=tap", "--test-name-pattern=^tied", file], { cwd: projectRoot, env: { ...environment, TEST_COMPUTE_DEVICE: "webgpu" }, maxBuffer: 2 ** 26 }).catch((error: unknown) => {
      throw new Error((error as { stdout?: string }).stdout ?? String(error));
    });
    assert.match(stdout, /^# fail 0$/m);
    assert.match(stdout, /^# pass [1-9]/m);
  });
}
