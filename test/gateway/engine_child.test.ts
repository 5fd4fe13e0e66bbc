/** The real engine child's work (jobs.ts), without a process around it: answers side by side, aborts, faults, formats. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { Jobs } from "../../services/gateway/engine/jobs.ts";
import { toChildSchema, fromChildSchema, type FromChild } from "../../services/gateway/engine/protocol.ts";
import { Decoder } from "../../shared/engine/decoder.ts";
import { openLanguageModel, type LanguageModel } from "../../shared/engine/language_model.ts";
import { createRandom } from "../../shared/models/random.ts";
import { allTargets, encodeAdapterWeights, modulesOf } from "../../shared/peft/adapter.ts";
import { createPeftConfig } from "../../shared/peft/config.ts";
import { publishAdapter } from "../../shared/peft/registry.ts";
import { writeToyModel } from "../support/toy_model.ts";
import { until } from "../support/wait.ts";

let folder = "";
let model: LanguageModel;
let adapterFolder = "";
const heard: FromChild[] = [];
let decoder: Decoder;
let jobs: Jobs;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "everlora-child-"));
  model = await openLanguageModel(await writeToyModel(join(folder, "toy"), { overrides: { max_position_embeddings: 1_024 } }), join(folder, "compiled"), { provider: "cpu", threads: 1 });
  const random = createRandom(5);
  const targets = allTargets(model.folder.config);
  const noise = (length: number) => Float32Array.from({ length }, () => 0.5 * random.normal());
  const modules = new Map(modulesOf(model.folder.config, targets).map(({ name, inputs, outputs }) => [name, { A: noise(4 * inputs), B: noise(4 * outputs), rank: 4, inputs, outputs }] as const));
  const config = createPeftConfig({ rank: 4, alpha: 8, targetModules: targets, baseModel: "toy" });
  const { generation } = await publishAdapter({ loras: join(folder, "loras"), domain: "support", config, weights: encodeAdapterWeights(modules), base: { name: "toy", sha256: model.folder.sha256 }, runId: "run-test-000001", heldOut: { base: 2, adapter: 1, rows: 1, tokens: 1 } });
  generationName = generation;
  adapterFolder = join(folder, "loras", "support", generation);
  make();
});
after(() => rm(folder, { recursive: true, force: true }));
afterEach(() => make());

let generationName = "";
function make(): void {
  heard.length = 0;
  decoder = new Decoder(model, { prefixBytes: 1 << 24 });
  jobs = new Jobs({ model, decoder, embedder: null, send: (message) => heard.push(fromChildSchema.parse(JSON.parse(JSON.stringify(message)))) });
}
const accept = (message: Record<string, unknown>) => jobs.accept(toChildSchema.parse(message));
const user = (content: string) => [{ role: "user", content }];
const generate = (id: string, content: string, more: Record<string, unknown> = {}) => accept({ type: "generate", id, messages: user(content), generation: null, maxTokens: 12, temperature: 1, topP: 1, stop: [], seed: 3, ...more });
const of = (id: string) => heard.filter((message) => "id" in message && message.id === id);
const ended = (id: string) => until(`${id} to end`, () => of(id).some(({ type }) => type === "done" || type === "failed" || type === "embedded"));
const textOf = (id: string) => of(id).map((message) => (message.type === "token" ? message.text : "")).join("");
const doneOf = (id: string) => {
  const last = of(id).at(-1);
  assert.ok(last?.type === "done", `${id} ended with ${JSON.stringify(last)}`);
  return last;
};

test("the same seed gives the same answer alone and among others, with an adapter or without", async () => {
  accept({ type: "load", id: "load", generation: generationName, folder: adapterFolder });
  await until("the adapter", () => of("load").length > 0);
  assert.equal(of("load")[0]?.type, "loaded");
  for (const generation of [null, generationName]) {
    generate(`alone ${generation}`, "where is my order", { generation });
    await ended(`alone ${generation}`);
  }
  for (let at = 0; at < 6; at++) generate(`beside ${at}`, `something else ${at}`, { generation: at % 2 === 0 ? null : generationName, seed: at, maxTokens: 4 + 3 * at });
  for (const generation of [null, generationName]) generate(`among ${generation}`, "where is my order", { generation });
  for (const generation of [null, generationName]) {
    await ended(`among ${generation}`);
    assert.equal(textOf(`among ${generation}`), textOf(`alone ${generation}`));
  }
  assert.notEqual(textOf("alone null"), textOf(`alone ${generationName}`));
  await Promise.all(Array.from({ length: 6 }, (_, at) => ended(`beside ${at}`)));
});

test("a short prompt is answered before a long one has been read, and the long one keeps nobody waiting", async () => {
  generate("running", "go on", { maxTokens: 60, logitBias: { "1": -100 } });
  await until("the first token", () => of("running").length > 0);
  generate("long", "the order is late. ".repeat(45), { maxTokens: 2 });
  generate("short", "hi", { maxTokens: 2 });
  await Promise.all(["running", "long", "short"].map(ended));
  assert.ok(doneOf("long").promptTokens > 300);
  const place = (id: string) => heard.findIndex((message) => "id" in message && message.id === id);
  assert.ok(place("short") < place("long"), "the long prompt came first");
});

test("an abort in the middle of a prompt or of an answer ends it, and the others go on", async () => {
  generate("long", "the order is late. ".repeat(85));
  generate("other", "hi", { maxTokens: 40, logitBias: { "1": -100 } });
  accept({ type: "abort", id: "long" });
  await ended("long");
  assert.deepEqual([doneOf("long").finishReason, doneOf("long").completionTokens], ["abort", 0]);
  accept({ type: "abort", id: "other" });
  await ended("other");
  generate("next", "hi", { maxTokens: 3, logitBias: { "1": -100 } });
  await ended("next");
  assert.equal(doneOf("next").finishReason, "length");
});

test("what fails ends its own answer, and the child goes on", async () => {
  generate("endless", "word ".repeat(2_000));
  generate("schema", "hi", { responseFormat: { type: "json_schema", schema: { type: "string", pattern: "a" } } });
  generate("bias", "hi", { logitBias: { "5": 1, "99999999": 1 } });
  generate("nobody", "hi", { generation: "000000000000" });
  accept({ type: "embed", id: "embed", texts: ["a"] });
  const ids = ["endless", "schema", "bias", "nobody", "embed"];
  await Promise.all(ids.map(ended));
  const faults = ids.map((id) => of(id).map((message) => (message.type === "failed" ? `${message.error.code} ${message.error.param ?? ""}` : message.type)));
  assert.deepEqual(faults, [["context_length_exceeded messages"], ["invalid_request response_format"], ["invalid_request logit_bias"], ["adapter_not_found "], ["engine_failed EMBEDDING_MODEL"]]);
  assert.match(JSON.stringify(of("bias")), /99999999 is no token/);
  // A graph that fails in a batch fails for the one whose fault it is.
  const stepAll = decoder.stepAll.bind(decoder);
  decoder.stepAll = async (next) => (next.some(({ sequence }) => sequence.tokens.length > 60) ? Promise.reject(new Error("Failed to allocate memory for requested buffer")) : stepAll(next));
  generate("large", "the order is on its way and the order is late, the order is on its way and the order is late and so on", { maxTokens: 20, logitBias: { "1": -100 } });
  generate("small", "hi", { maxTokens: 20, logitBias: { "1": -100 } });
  await Promise.all(["large", "small"].map(ended));
  const failure = of("large").at(-1);
  assert.ok(failure?.type === "failed" && /not enough memory/.test(failure.error.message), JSON.stringify(failure));
  assert.equal(doneOf("small").completionTokens, 20);
});

test("an adapter that is unloaded stays until its last answer has ended", async () => {
  accept({ type: "load", id: "load", generation: generationName, folder: adapterFolder });
  await until("the adapter", () => of("load").length > 0);
  generate("user", "hi", { generation: generationName, maxTokens: 30, logitBias: { "1": -100 } });
  await until("the first token", () => of("user").length > 0);
  accept({ type: "unload", id: "unload", generation: generationName });
  generate("late", "hi", { generation: generationName });
  await Promise.all([ended("user"), ended("late"), until("the unload", () => of("unload").length > 0)]);
  assert.equal(doneOf("user").completionTokens, 30);
  const late = of("late")[0];
  assert.ok(late?.type === "failed" && late.error.code === "adapter_not_found");
  assert.ok(heard.indexOf(of("unload")[0] ?? doneOf("user")) > heard.indexOf(doneOf("user")));
});

test("log-probabilities come with the text that they are of, one for each token", async () => {
  generate("scored", "hi", { logprobs: 3, logitBias: { "1": -100 } });
  await ended("scored");
  const scored = of("scored").flatMap((message) => (message.type === "token" ? (message.logprobs ?? []) : []));
  assert.equal(scored.length, doneOf("scored").completionTokens);
  assert.equal(Buffer.concat(scored.map(({ bytes }) => Uint8Array.from(bytes ?? []))).toString(), textOf("scored"));
  for (const { logprob, top_logprobs: top } of scored) {
    assert.equal(top.length, 3);
    assert.ok(logprob <= (top[0]?.logprob ?? -Infinity) && logprob < 0);
  }
});

test("an object is written as JSON; where the tokens run out it is cut", async () => {
  for (let seed = 0; seed < 4; seed++) generate(`json ${seed}`, "hi", { seed, maxTokens: 300, responseFormat: { type: "json_schema", schema: { type: "object", properties: { ok: { type: "boolean" }, count: { type: "integer" } }, required: ["ok", "count"], additionalProperties: false } } });
  generate("cut", "hi", { maxTokens: 2, responseFormat: { type: "json_object" } });
  await Promise.all([...Array.from({ length: 4 }, (_, seed) => ended(`json ${seed}`)), ended("cut")]);
  assert.equal(doneOf("cut").finishReason, "length");
  for (let seed = 0; seed < 4; seed++) {
    assert.equal(doneOf(`json ${seed}`).finishReason, "stop");
    const value = JSON.parse(textOf(`json ${seed}`)) as Record<string, unknown>;
    assert.deepEqual([Object.keys(value).sort(), typeof value["ok"], Number.isInteger(value["count"])], [["count", "ok"], "boolean", true]);
  }
});

test("a prompt that begins as an earlier one takes over what was computed, and what is kept is told", async () => {
  generate("first", "the order is late. ".repeat(8));
  await ended("first");
  generate("second", `${"the order is late. ".repeat(8)}and now?`);
  await ended("second");
  assert.equal(doneOf("first").cachedTokens, 0);
  assert.ok(doneOf("second").cachedTokens >= 16 && doneOf("second").cachedTokens < doneOf("second").promptTokens);
  await until("the stats", () => heard.some((message) => message.type === "stats" && message.prefixBytes > 0));
});
