import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { startRedis } from "../support/redis.ts";
import { startTestGateway, user, type TestGateway } from "./support/gateway.ts";

it("finds paraphrases by a sentence embedding, through the gates, and never by another one's vectors", async () => {
  const redis = await startRedis();
  const folder = await mkdtemp(join(tmpdir(), "everlora-embedding-"));
  await writeFile(join(folder, "config.json"), JSON.stringify({ hidden_size: 16 }));
  await writeFile(join(folder, "model.safetensors"), "one");
  const environment = { REDIS_URL: redis.url, EMBEDDING_MODEL: folder };
  const ask = async (gateway: TestGateway, content: string) => {
    const response = await gateway.call("/v1/chat/completions", { model: "tiny-fake", messages: [user(content)] });
    assert.equal(response.status, 200, await response.text());
    return response.headers.get("x-everlora-cache");
  };
  const gateway = await startTestGateway(environment);
  assert.equal(await ask(gateway, "Where do I buy a red couch for the garden?"), "miss");
  assert.equal(await ask(gateway, "where do i buy a red sofa for the garden?"), "hit-semantic");
  assert.equal(await ask(gateway, "Where do I buy 2 red sofa for the garden?"), "miss");
  assert.equal(await ask(gateway, "When do I buy a red sofa for the garden?"), "miss");
  assert.equal(await ask(gateway, "Where do I garden a red couch for the buy?"), "miss", "the same words turned round");
  await gateway.stop();

  await writeFile(join(folder, "model.safetensors"), "another");
  const other = await startTestGateway(environment);
  assert.equal(await ask(other, "where do I buy a red sofa for the garden?"), "miss");
  await other.stop();

  const strict = await startTestGateway({ ...environment, CACHE_GATE: "strict" });
  assert.equal(await ask(strict, "where do I buy a red couch for the garden?"), "miss");
  assert.equal(await ask(strict, "where do I buy the red sofa for the garden?"), "miss");
  assert.equal(await ask(strict, "where do i buy the red sofa for the garden?"), "hit-semantic");
  await strict.stop();
  await rm(folder, { recursive: true });
  await redis.stop();
});
