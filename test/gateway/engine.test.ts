import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Engine, type GenerateRequest } from "../../services/gateway/engine/engine.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";
import { until } from "../support/wait.ts";
import { fakeEngine, newDataDir, storeAdapter, testSettings, user } from "./support/gateway.ts";

const request = (content: string, more: Partial<GenerateRequest> = {}): GenerateRequest => ({ messages: [user(content)], generation: null, maxTokens: 64, temperature: 0, topP: 1, stop: [], ...more });
const withCode = (code: string) => (error: unknown) => error instanceof EverloraError && error.code === code;

describe("engine", () => {
  let data: Awaited<ReturnType<typeof newDataDir>>;
  let engine: Engine;
  const metrics = createMetrics("gateway");

  const make = (environment: Record<string, string> = {}) => new Engine({ settings: testSettings(data.path, environment), log: silentLogger, metrics, script: fakeEngine });
  const answer = async (content: string, more: Partial<GenerateRequest> = {}, signal?: AbortSignal) => {
    let text = "";
    for await (const event of engine.generate(request(content, more), signal)) if (event.type === "token") text += event.text;
    return text;
  };
  const held = async (name: string) => {
    const file = join(data.path, name);
    const stream = engine.generate(request(`!hold ${file} x`));
    const first = await stream.next();
    assert.equal(first.value?.type, "token");
    return { stream, free: () => writeFile(file, "") };
  };

  beforeEach(async () => {
    data = await newDataDir();
    engine = make({ ENGINE_CONCURRENCY: "1", ENGINE_QUEUE: "1" });
  });
  afterEach(async () => {
    await engine.close();
    await data.remove();
  });

  it("gives tokens and then the counts", async () => {
    const ready = await engine.start();
    assert.equal(ready.model.name, "tiny-fake");
    const events = [];
    for await (const event of engine.generate(request("two words"))) events.push(event);
    assert.deepEqual(events.map((event) => (event.type === "token" ? event.text : event.finishReason)), ["base", " says", " two", " words", "stop"]);
    const last = events.at(-1);
    assert.ok(last?.type === "done");
    assert.deepEqual([last.promptTokens, last.completionTokens], [2, 4]);
    assert.deepEqual(await engine.score([user("q"), { role: "assistant", content: "a b c" }], null), { loss: 2.5, tokens: 3 });
  });

  it("refuses work before the first start, and says what a broken model folder lacks", async () => {
    await assert.rejects(answer("hello"), withCode("engine_unavailable"));
    const broken = make({ BASE_MODEL: "broken" });
    await assert.rejects(broken.start(), (error) => withCode("invalid_model_folder")(error) && (error as EverloraError).message.includes("config.json") && (error as EverloraError).hint === "Put it there.");
    assert.equal(broken.state.kind, "failed");
    await broken.close();
  });

  it("repeats a request that had not begun to stream when the child died", async () => {
    await engine.start();
    const died = join(data.path, "died");
    assert.equal(await answer(`!die-once ${died}`), `base says !die-once ${died}`);
  });

  it("replaces a child that says it can't go on", async () => {
    await engine.start();
    const file = join(data.path, "fatal");
    assert.equal(await answer(`!fatal-once ${file}`), `base says !fatal-once ${file}`);
  });

  it("lets requests wait for a child that was killed from outside", async () => {
    const before = (await metrics.engineRestarts.get()).values[0]?.value ?? 0;
    await engine.start();
    const pid = engine.pid ?? 0;
    process.kill(pid, "SIGKILL");
    await until("the death to be noticed", () => engine.pid !== pid);
    assert.equal(await answer("still there"), "base says still there");
    assert.equal((await metrics.engineRestarts.get()).values[0]?.value, before + 1);
  });

  it("ends an answer that was streaming with an error, and goes on with the next", async () => {
    await engine.start();
    await assert.rejects(answer("!die-streaming a b c"), withCode("engine_unavailable"));
    assert.equal(await answer("next"), "base says next");
  });

  it("gives a request up that killed two children", async () => {
    await engine.start();
    await assert.rejects(answer("!die-always"), withCode("engine_failed"));
    assert.equal(await answer("next"), "base says next");
  });

  it("refuses work while no child can be started, and works again when one can", async () => {
    await engine.start();
    const { stream } = await held("hold");
    const waiting = answer("waiting");
    const cause = join(data.path, "no-start");
    await writeFile(cause, "");
    process.kill(engine.pid ?? 0, "SIGKILL");
    await assert.rejects(stream.next(), withCode("engine_unavailable"));
    await assert.rejects(waiting, withCode("engine_unavailable"));
    await assert.rejects(answer("later"), (error) => withCode("engine_unavailable")(error) && /exit code 3/.test((error as Error).message));
    await rm(cause);
    await until("a child that works", () => engine.state.kind === "ready");
    assert.equal(await answer("now"), "base says now");
  });

  it("puts the adapters back into a new child", async () => {
    await engine.start();
    const generation = await storeAdapter(data.path, "legal", "one");
    const folder = join(data.path, "loras", "legal", generation);
    assert.deepEqual(await engine.load(generation, folder), { milliseconds: 1, bytes: 1000 });
    process.kill(engine.pid ?? 0, "SIGKILL");
    assert.equal(await answer("again", { generation }), `${generation} says again`);
    await engine.unload(generation);
    await assert.rejects(answer("gone", { generation }), withCode("adapter_not_found"));
  });

  it("loads again what is just being unloaded", async () => {
    await engine.start();
    const generation = await storeAdapter(data.path, "legal", "one");
    const folder = join(data.path, "loras", "legal", generation);
    await engine.load(generation, folder);
    const gone = engine.unload(generation);
    const back = engine.load(generation, folder);
    await Promise.all([gone, back]);
    assert.equal(await answer("back", { generation }), `${generation} says back`);
    assert.deepEqual((await readFile(join(data.path, "fake-engine.log"), "utf8")).match(/(un)?load /g), ["load ", "unload ", "load "]);
  });

  it("tells when an adapter can't be loaded", async () => {
    await engine.start();
    await assert.rejects(engine.load("0123456789ab", join(data.path, "nowhere")), withCode("adapter_corrupted"));
    await assert.rejects(answer("x", { generation: "0123456789ab" }), withCode("adapter_not_found"));
  });

  it("lets as many wait as the setting allows and refuses the next", async () => {
    await engine.start();
    const { stream, free } = await held("hold");
    const second = answer("second");
    await assert.rejects(answer("third"), withCode("overloaded"));
    await free();
    for await (const _event of stream);
    assert.equal(await second, "base says second");
  });

  it("frees the engine when a waiting or a running answer is aborted", async () => {
    await engine.start();
    const { stream } = await held("hold");
    const leave = new AbortController();
    const second = answer("second", {}, leave.signal);
    leave.abort();
    assert.equal(await second, "");
    await stream.return(); // the reader of the first leaves, too
    assert.equal(await answer("third"), "base says third");
  });
});
