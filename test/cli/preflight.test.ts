import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { preflight } from "../../cli/fleet/preflight.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { temporaryFolder } from "../support/folder.ts";

async function faultsOf(environment: Record<string, string>): Promise<string> {
  try {
    await preflight(loadSettings(environment));
    return "";
  } catch (error) {
    assert.ok(error instanceof EverloraError && error.code === "invalid_settings");
    return error.message;
  }
}

test("what works is let through: the defaults, names of layers, any free port", async () => {
  assert.equal(await faultsOf({}), "");
  assert.equal(await faultsOf({ LORA_TARGETS: "q_proj, mlp", GATEWAY_PORT: "0", CONTROL_PORT: "0" }), "");
});

const faults: { name: string; environment: Record<string, string>; words: RegExp }[] = [
  { name: "a model that is not there", environment: { BASE_MODEL: "nonsense" }, words: /^BASE_MODEL="nonsense": .*\/nonsense: there is no such folder \(.*owner\/name/ },
  { name: "layers that the model has not", environment: { LORA_TARGETS: "q_proj,banana" }, words: /^LORA_TARGETS=\["q_proj","banana"\]: .*"banana".*all-linear.*q_proj, k_proj/ },
  { name: "a sentence-embedding model that is not there", environment: { EMBEDDING_MODEL: "/nowhere/at/all" }, words: /^EMBEDDING_MODEL="\/nowhere\/at\/all": .*config\.json.*ENOENT.*sentence-embedding/ },
  { name: "two services on one port", environment: { CONTROL_PORT: "8080" }, words: /^CONTROL_PORT=8080: GATEWAY_PORT is the same/ },
];
for (const { name, environment, words } of faults)
  test(`${name}: the setting, its value and the mend are named`, async () => {
    assert.match(await faultsOf(environment), words);
  });

test("everything is named at once", async () => {
  const message = await faultsOf({ BASE_MODEL: "nonsense", EMBEDDING_MODEL: "/nowhere", TRAINER_PORT: "8081" });
  assert.deepEqual([...message.matchAll(/(?:^|; )([A-Z_]+)=/g)].map((match) => match[1]), ["BASE_MODEL", "EMBEDDING_MODEL", "TRAINER_PORT"]);
});

test("a folder of another kind of model is refused for what it is", async (context) => {
  const folder = join(await temporaryFolder(context, "preflight"), "t5");
  await mkdir(folder);
  for (const [file, text] of [["config.json", '{"model_type":"t5"}'], ["tokenizer.json", "{}"], ["tokenizer_config.json", "{}"]] as const) await writeFile(join(folder, file), text);
  assert.match(await faultsOf({ BASE_MODEL: folder }), /^BASE_MODEL=.*model_type.*"t5"/);
  assert.match(await faultsOf({ EMBEDDING_MODEL: folder }), /^EMBEDDING_MODEL=.*model_type "t5" is no encoder/);
});
