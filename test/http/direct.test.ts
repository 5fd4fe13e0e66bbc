/** A route past Express answers as the app does, and what is out of the ordinary goes to the app. */
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { gzipSync } from "node:zlib";
import { Router } from "express";
import { EverloraError } from "../../shared/errors/errors.ts";
import { createApp, handler, listen, requestId, sendJson, type Listening } from "../../shared/http/app.ts";
import { withDirectRoutes } from "../../shared/http/direct.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";

const apiKey = "test-key-0123456789";
const metrics = createMetrics("gateway");
let server: Listening;

before(async () => {
  const common = { apiKey, metrics, log: silentLogger, maxBodyBytes: 1_000 };
  const router = Router();
  router.post("/v1/echo", handler(async (request, response) => Promise.resolve(sendJson(response, { by: "app", body: request.body as unknown }))));
  const app = createApp({ ...common, router, notReady: () => null });
  const handle = (_request: unknown, body: unknown, response: Parameters<typeof sendJson>[0]) => {
    if (body === "throw") return Promise.reject(new EverloraError("overloaded", "Too much."));
    sendJson(response, { by: "direct", body, id: requestId(response) });
    return Promise.resolve();
  };
  server = await listen(withDirectRoutes(app, { ...common, routes: [{ path: "/v1/echo", handle }] }), "127.0.0.1", 0, "TEST_PORT");
});
after(() => server.close());

async function post(body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}, path = "/v1/echo") {
  const response = await fetch(server.url + path, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json", ...headers }, body });
  const json = (await response.json()) as { by?: string; body?: unknown; id?: string; error?: { code: string; param: null } };
  return { status: response.status, retryAfter: response.headers.get("retry-after"), id: response.headers.get("x-request-id"), ...json };
}

it("takes ordinary requests, and gives and counts what the app would", async () => {
  const { id, ...answer } = await post('{"text":"é"}', { "content-type": "application/json; charset=utf-8" });
  assert.deepEqual([answer.by, answer.body], ["direct", { text: "é" }]);
  assert.match(id ?? "", /^[0-9a-f-]{36}$/);
  const wrong = await post("{}", { authorization: "Bearer wrong" });
  assert.deepEqual([wrong.status, wrong.error?.code, wrong.error?.param], [401, "invalid_api_key", null]);
  assert.equal((await post("{", {})).error?.code, "invalid_json");
  const busy = await post('"throw"');
  assert.deepEqual([busy.status, busy.retryAfter, busy.error?.code], [503, "2", "overloaded"]);
  const text = await metrics.registry.metrics();
  const counted = text.split("\n").filter((line) => line.startsWith("everlora_http_requests_total{"));
  for (const code of [200, 400, 401, 503]) assert.equal(counted.filter((line) => line.includes(`code="${code}"`) && line.includes('route="/v1/echo"') && line.endsWith(" 1")).length, 1, String(code));
});

it("leaves the rest to the app: other encodings and types, a query, bodies that are too large, other methods and paths", async () => {
  assert.deepEqual((await post(gzipSync('{"a":1}'), { "content-encoding": "gzip" })).body, { a: 1 });
  assert.equal((await post("{}", { "content-type": "application/json; charset=utf-16" })).status, 400);
  assert.equal((await post("{}", {}, "/v1/echo?x=1")).by, "app");
  assert.deepEqual([(await post(JSON.stringify("x".repeat(2_000)))).status, (await post("{}", {}, "/v1/other")).status], [413, 404]);
  const got = await fetch(`${server.url}/v1/echo`, { headers: { authorization: `Bearer ${apiKey}` } });
  assert.deepEqual([got.status, (await fetch(`${server.url}/healthz`)).status], [404, 200]);
});
