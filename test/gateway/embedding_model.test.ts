/** EMBEDDING_MODEL with a real engine child and a real (small) BERT: what comes over HTTP is what sentence-transformers gave (test/golden/make_bert.py). */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { z } from "zod";
import { startGateway } from "../../services/gateway/gateway.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { Closeness, goldenFolder } from "../models/golden.ts";
import { startRedis } from "../support/redis.ts";
import { apiKey, newDataDir, testSettings, user } from "./support/gateway.ts";

const model = join(goldenFolder, "bert", "model");
const goldenSchema = z.array(z.object({ text: z.string(), vector: z.array(z.number()) }));
const embeddingsSchema = z.object({ model: z.string(), data: z.array(z.object({ embedding: z.array(z.number()) })) });

it("embeds as sentence-transformers does, and the cache compares by these vectors", async (t) => {
  const golden = goldenSchema.parse(JSON.parse(await readFile(join(goldenFolder, "bert", "golden.json"), "utf8"))).filter(({ text }) => text !== "");
  const [redis, data] = await Promise.all([startRedis(), newDataDir()]);
  const settings = testSettings(data.path, { REDIS_URL: redis.url, BASE_MODEL: "everlora-tiny", EMBEDDING_MODEL: model, CACHE_SIMILARITY: "0.5", CACHE_UNCERTAINTY: "0" });
  const gateway = await startGateway(settings, silentLogger);
  const post = (path: string, body: object) => fetch(gateway.url + path, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: JSON.stringify(body) });
  const embed = async (input: readonly string[]) => {
    const response = await post("/v1/embeddings", { model: "auto", input, encoding_format: "float" });
    assert.equal(response.status, 200);
    const embedded = embeddingsSchema.parse(await response.json());
    assert.equal(embedded.model, "model", "named as its folder");
    return embedded.data.map(({ embedding }) => embedding);
  };
  try {
    const vectors = await embed(golden.map(({ text }) => text));
    const close = new Closeness(1e-5);
    golden.forEach(({ text, vector }, at) => close.check(JSON.stringify(text.slice(0, 30)), vectors[at] ?? [], vector));
    close.report(t);

    const asked = ["Where do I buy a red couch for the garden?", "Where do I buy a red sofa for the garden?"];
    const ask = async (content: string) => {
      const response = await post("/v1/chat/completions", { model: "everlora-tiny", temperature: 0, messages: [user(content)] });
      assert.equal(response.status, 200, await response.text());
      return response.headers;
    };
    const [a = [], b = []] = await embed(asked);
    const cosine = a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
    assert.ok(cosine > 0.5 && cosine < 0.99999, `this pair shows nothing: ${cosine}`);
    assert.equal((await ask(asked[0] ?? "")).get("x-everlora-cache"), "miss");
    const near = await ask(asked[1] ?? "");
    assert.equal(near.get("x-everlora-cache"), "hit-semantic");
    assert.ok(Math.abs(Number(near.get("x-everlora-similarity")) - cosine) < 2e-4, `${near.get("x-everlora-similarity")} is not ${cosine}`);
  } finally {
    await gateway.close();
    await redis.stop();
    await data.remove();
  }
});

it("does not start with a folder that is missing, or that holds a model of another kind, and names it", async () => {
  const [redis, data] = await Promise.all([startRedis(), newDataDir()]);
  try {
    const start = (folder: string) => startGateway(testSettings(data.path, { REDIS_URL: redis.url, BASE_MODEL: "everlora-tiny", EMBEDDING_MODEL: folder }), silentLogger);
    await assert.rejects(start(join(data.path, "nowhere")), { code: "invalid_model_folder", param: "EMBEDDING_MODEL", message: /nowhere/ });
    const llama = pathsOf(testSettings(data.path, { BASE_MODEL: "everlora-tiny" })).baseModel;
    await assert.rejects(start(llama), { code: "invalid_model_folder", message: /everlora-tiny/ });
  } finally {
    await redis.stop();
    await data.remove();
  }
});
