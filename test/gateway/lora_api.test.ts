/** Adapters by request: vLLM's routes, compare-and-swap, the byte budget, and that one name never answers with what it does not mean. */
import assert from "node:assert/strict";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type OpenAI from "openai";
import { readLive } from "../../shared/peft/registry.ts";
import { until } from "../support/wait.ts";
import { storeAdapter, user, type TestGateway } from "./support/gateway.ts";
import { startSite, type Site } from "./support/site.ts";

describe("adapters by request", () => {
  let data: Site["data"];
  let gateway: TestGateway;
  let stop: () => Promise<void>;
  let a: string;
  let b: string;

  before(async () => {
    ({ data, gateway, stop } = await startSite());
    a = await storeAdapter(data.path, "legal", "one");
    b = await storeAdapter(data.path, "legal", "two");
  });
  after(() => stop());

  const post = async (path: string, body: unknown) => {
    const response = await gateway.call(path, body);
    const text = await response.text();
    const error = response.headers.get("content-type")?.includes("json") === true ? (JSON.parse(text) as { error: { code: string; message: string; param: string | null; generation?: string | null } }).error : undefined;
    return { status: response.status, text, code: error?.code, param: error?.param, error };
  };
  const load = (name: string, path: string, more: object = {}) => post("/v1/load_lora_adapter", { lora_name: name, lora_path: path, ...more });
  const unload = (name: string, more: object = {}) => post("/v1/unload_lora_adapter", { lora_name: name, ...more });
  const ask = async (model: string, content: string) => (await gateway.client.chat.completions.create({ model, messages: [user(content)] })).choices[0]?.message.content?.split(" ")[0];
  const loaded = async () => ((await (await gateway.call("/v1/lora_adapters")).json()) as { data: { id: string; bytes: number; aliases: string[]; active_leases: number }[] }).data;

  it("names an adapter in vLLM's shape, lists it, and takes it away", async () => {
    assert.deepEqual(await load("my-lora", join(data.path, "loras", "legal", a)), { status: 200, text: "Success: LoRA adapter 'my-lora' added successfully.", code: undefined, param: undefined, error: undefined });
    assert.equal(await ask("my-lora", "q"), a);
    const model = (await gateway.client.models.list()).data.find(({ id }) => id === "my-lora") as unknown as Record<string, unknown>;
    assert.deepEqual([model["root"], model["parent"]], [`legal@${a}`, "tiny-fake"]);
    assert.deepEqual((await loaded()).map(({ id, bytes, aliases, active_leases: leases }) => [id, bytes, aliases, leases]), [[`legal@${a}`, 1000, ["my-lora"], 0]]);
    const again = await load("my-lora", `legal/${b}`);
    assert.deepEqual([again.status, again.code], [400, "invalid_request"]);
    assert.match(again.error?.message ?? "", /has already been loaded.*load_inplace/);
    assert.equal((await unload("my-lora")).text, "Success: LoRA adapter 'my-lora' removed successfully.");
    assert.deepEqual([(await unload("my-lora")).status, (await unload("nobody")).status], [404, 404]);
    await assert.rejects(ask("my-lora", "q"), (error: InstanceType<typeof OpenAI.APIError>) => error.code === "model_not_found");
    await until("its memory to be free", async () => (await loaded()).length === 0);
  });

  it("A → B → A under one name always answers by the right generation, cached answers too", async () => {
    const question = "the same question every time";
    const seen: (string | undefined)[] = [];
    for (const path of [`legal/${a}`, `legal@${b}`, `legal/${a}`]) {
      assert.equal((await load("swapped", path, { load_inplace: true })).status, 200);
      seen.push(await ask("swapped", question), await ask("swapped", question));
    }
    assert.deepEqual(seen, [a, a, b, b, a, a]);
    await unload("swapped");
    // The domain's own name: other pointer, other generation, the same rule.
    const live: (string | undefined)[] = [];
    for (const generation of [a, b, a]) {
      assert.equal((await load("legal", `legal/${generation}`, { load_inplace: true })).status, 200);
      const { data: answer, response } = await gateway.client.chat.completions.create({ model: "legal", messages: [user(question)] }).withResponse();
      assert.equal(response.headers.get("x-everlora-generation"), generation);
      live.push(answer.choices[0]?.message.content?.split(" ")[0], answer.model);
    }
    assert.deepEqual(live, [a, `legal@${a}`, b, `legal@${b}`, a, `legal@${a}`]);
    assert.equal((await readLive(join(data.path, "loras"), "legal"))?.generation, a);
    await unload("legal");
    assert.equal((await readLive(join(data.path, "loras"), "legal"))?.generation, null);
    assert.equal(await ask("legal", question), "base");
  });

  it("swaps under load: no failed and no mixed answer", async () => {
    await load("busy", `legal/${a}`, { load_inplace: true });
    let swapping = true;
    let answered = 0;
    const asking = Array.from({ length: 4 }, async (_, worker) => {
      for (let at = 0; swapping; at++) {
        const { data: answer, response } = await gateway.client.chat.completions.create({ model: "busy", messages: [user(`worker ${worker} asks ${at}`)], stream: at % 2 === 1 } as OpenAI.ChatCompletionCreateParamsStreaming).withResponse();
        const generation = response.headers.get("x-everlora-generation");
        let text = "";
        if (at % 2 === 1) for await (const chunk of answer) text += chunk.choices[0]?.delta.content ?? "";
        else text = (answer as unknown as OpenAI.ChatCompletion).choices[0]?.message.content ?? "";
        assert.equal(text, `${generation} says worker ${worker} asks ${at}`);
        answered++;
      }
    });
    for (let at = 0; at < 12; at++) {
      const generation = at % 2 === 0 ? b : a;
      assert.equal((await load("busy", `legal/${generation}`, { load_inplace: true })).status, 200);
      assert.equal(await ask("busy", `right after swap ${at}`), generation);
    }
    swapping = false;
    await Promise.all(asking);
    assert.ok(answered > 12);
    await unload("busy");
    await until("nothing to be held", async () => (await gateway.metric("everlora_adapter_leases")) === 0);
  });

  it("leaves alone what is not what the caller expects", async () => {
    assert.equal((await load("cas", `legal/${a}`, { expected_generation: null })).status, 200);
    const late = await load("cas", `legal/${b}`, { expected_generation: b });
    assert.deepEqual([late.status, late.code, late.param, late.error?.generation], [409, "conflict", "expected_generation", a]);
    assert.equal((await load("cas", `legal/${b}`, { expected_generation: a })).status, 200);
    assert.equal((await unload("cas", { expected_generation: a })).status, 409);
    // Of many who expect the same, one wins.
    const results = await Promise.all(Array.from({ length: 6 }, () => load("cas", `legal/${a}`, { expected_generation: b })));
    assert.deepEqual(results.map(({ status }) => status).sort(), [200, 409, 409, 409, 409, 409]);
    assert.equal((await unload("cas", { expected_generation: a })).status, 200);
  });

  it("reads nothing outside loras/, whatever the path says", async () => {
    const outside = join(data.path, "outside");
    await mkdir(outside);
    for (const name of ["adapter_config.json", "adapter_model.safetensors", "everlora.json"]) await writeFile(join(outside, name), await readFile(join(data.path, "loras", "legal", a, name)));
    await symlink(outside, join(data.path, "loras", "legal", "0123456789ab"));
    await symlink(join(data.path, "loras", "legal"), join(data.path, "loras", "linked"));
    await symlink(join(data.path, "loras", "legal", a), join(data.path, "into"));
    const paths = ["/etc/passwd", "../outside", outside, "legal/../../outside", `legal/${a}/..`, join(data.path, "loras", "legal"), join(data.path, "loras", "legal", "0123456789ab"), `/proc/self/root${outside}`, "https://example.org/adapter", "legal/\0", "", " ", `${join(data.path, "loras", "legal", a)}/adapter_config.json`, `LEGAL/${a}`];
    for (const path of paths) {
      const answer = await load("attack", path);
      assert.deepEqual([answer.status, answer.param], [400, "lora_path"], JSON.stringify(path));
      assert.ok(!(answer.error?.message ?? "").includes("root:"));
    }
    // By name a link is no adapter, either; a link from elsewhere to a real one is that one.
    assert.deepEqual([(await load("attack", "legal/0123456789ab")).status, (await load("attack", `linked/${a}`)).status], [422, 422]);
    assert.equal((await load("fine", join(data.path, "into"))).status, 200);
    assert.equal(await ask("fine", "who"), a);
    await unload("fine");
    const missing = await load("attack", "legal/ffffffffffff");
    assert.deepEqual([missing.status, missing.param], [404, "lora_path"]);
  });

  it("refuses names that mean something else, and bodies that are none", async () => {
    for (const name of ["auto", "tiny-fake", "support", "a/b", "../x", "x".repeat(64), `legal@${b}`, "with space", ""]) assert.deepEqual([(await load(name, `legal/${a}`)).status, (await load(name, `legal/${a}`)).param], [400, "lora_name"], name);
    for (const body of [{}, [], "text", null, 5, { lora_name: "x" }, { lora_name: 5, lora_path: "legal" }, { lora_name: "x", lora_path: `legal/${a}`, expected_generation: "zzz" }]) assert.equal((await post("/v1/load_lora_adapter", body)).status, 400, JSON.stringify(body));
    assert.equal((await fetch(`${gateway.url}/v1/load_lora_adapter`, { method: "POST", body: "{}" })).status, 401);
  });
});
