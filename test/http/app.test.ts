import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { Router } from "express";
import { pino } from "pino";
import { EverloraError, errorTable } from "../../shared/errors/errors.ts";
import { createApp, handler, listen, type Listening } from "../../shared/http/app.ts";
import { createMetrics } from "../../shared/metrics/metrics.ts";

const apiKey = "everlora_0123456789abcdef";
const metrics = createMetrics("control");
const logged: string[] = [];
let notReady: string | null = null;
let server: Listening;

before(async () => {
  const router = Router();
  router.post("/echo", (request, response) => {
    response.json({ body: request.body as unknown });
  });
  router.get("/things/:id", (request, response) => {
    response.json({ id: request.params.id });
  });
  router.get(
    "/fails/:how",
    handler(async (request, response) => {
      switch (String(request.params["how"])) {
        case "known":
          throw new EverloraError("too_few_examples", "There are 3 rows.", { param: "domain", details: { rows: 3, code: "overridden" } });
        case "busy":
          throw new EverloraError("overloaded", "Too much to do.", { details: { retry_after: 17 } });
        case "late":
          response.write("part");
          throw new Error("the disk broke at /secret/path");
        default:
          throw new Error("the disk broke at /secret/path");
      }
    }),
  );
  const log = pino({ level: "info" }, { write: (line: string) => void logged.push(line) });
  server = await listen(createApp({ router, apiKey, metrics, log, maxBodyBytes: 2_000, notReady: () => notReady }), "127.0.0.1", 0, "TEST_PORT");
});
after(() => server.close());

const key = { authorization: `Bearer ${apiKey}` };
const call = (path: string, options: RequestInit = {}) => fetch(`${server.url}${path}`, { ...options, headers: { ...key, ...(options.headers as Record<string, string> | undefined) } });
const post = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) => call("/echo", { method: "POST", body, headers: { "content-type": "application/json", ...headers } });
async function assertError(response: Response, status: number, code: keyof typeof errorTable): Promise<Record<string, unknown>> {
  const { error } = (await response.json()) as { error: Record<string, unknown> };
  assert.equal(response.status, status, JSON.stringify(error));
  assert.equal(error["code"], code);
  assert.equal(error["type"], errorTable[code].type);
  for (const field of ["message", "hint"]) assert.ok(typeof error[field] === "string" && error[field] !== "", field);
  assert.match(response.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
  return error;
}

test("healthz and readyz need no key; readyz says why not", async () => {
  assert.deepEqual(await (await fetch(`${server.url}/healthz`)).json(), { status: "ok" });
  assert.deepEqual(await (await fetch(`${server.url}/readyz`)).json(), { status: "ready" });
  notReady = "Redis is gone";
  const response = await fetch(`${server.url}/readyz`);
  notReady = null;
  assert.equal(response.status, 503);
  assert.deepEqual(await response.json(), { status: "not ready", reason: "Redis is gone" });
});

test("every other route needs the key, also those that are not there, and before the body is read", async () => {
  for (const [method, path] of [["GET", "/metrics"], ["POST", "/echo"], ["GET", "/things/1"], ["GET", "/nowhere"], ["POST", "/healthz"], ["DELETE", "/readyz"], ["GET", "/healthz/x"], ["OPTIONS", "/echo"], ["GET", "//healthz/../metrics"]] as const) {
    await assertError(await fetch(`${server.url}${path}`, { method }), 401, "missing_api_key");
  }
  await assertError(await fetch(`${server.url}/echo`, { method: "POST", body: "{", headers: { "content-type": "application/json" } }), 401, "missing_api_key");
});

test("the key as bearer or x-api-key; anything else is refused, and counted by kind", async () => {
  for (const headers of [key, { authorization: `bearer   ${apiKey}` }, { "x-api-key": apiKey }]) assert.equal((await fetch(`${server.url}/things/7`, { headers })).status, 200);
  const count = async (kind: string) => (await metrics.authFailures.get()).values.find(({ labels }) => labels.kind === kind)?.value ?? 0;
  const [missing, invalid] = [await count("missing"), await count("invalid")];
  for (const wrong of [apiKey.slice(0, -1), `${apiKey}x`, apiKey.toUpperCase(), "x", "é".repeat(24)]) await assertError(await fetch(`${server.url}/things/7`, { headers: { "x-api-key": wrong } }), 401, "invalid_api_key");
  for (const scheme of ["Basic", "Token", ""]) await assertError(await fetch(`${server.url}/things/7`, { headers: { authorization: `${scheme} ${apiKey}`.trim() } }), 401, "missing_api_key");
  await assertError(await fetch(`${server.url}/things/7`, { headers: { authorization: "Bearer " } }), 401, "missing_api_key");
  assert.deepEqual([(await count("missing")) - missing, (await count("invalid")) - invalid], [4, 5]);
  assert.ok(!logged.join("").includes(apiKey));
});

test("a body that is too large is refused, whether it says its length or not, and packed or not", async () => {
  const large = JSON.stringify({ text: "x".repeat(2_100) });
  const error = await assertError(await post(large), 413, "body_too_large");
  assert.match(String(error["message"]), /2000 bytes/);
  const packed = gzipSync(JSON.stringify({ text: "x".repeat(100_000) }));
  assert.ok(packed.length < 2_000);
  await assertError(await post(Uint8Array.from(packed), { "content-encoding": "gzip" }), 413, "body_too_large");
  const status = await new Promise<number>((resolve, reject) => {
    const chunked = httpRequest(`${server.url}/echo`, { method: "POST", headers: { ...key, "content-type": "application/json" } }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    chunked.on("error", reject);
    chunked.write(large.slice(0, 1_500));
    chunked.end(large.slice(1_500));
  });
  assert.equal(status, 413);
  assert.equal((await post(JSON.stringify({ text: "x".repeat(1_900) }))).status, 200);
});

test("a body that is no JSON, or not what its headers say, is the client's fault", async () => {
  for (const body of ["{", "", "nul", '{"a":1}x', "\u0000"]) {
    const response = await post(body);
    if (body === "") assert.equal(response.status, 200, "no body at all is for the route to judge");
    else await assertError(response, 400, "invalid_json");
  }
  await assertError(await post("not gzip", { "content-encoding": "gzip" }), 400, "invalid_request");
  await assertError(await post("{}", { "content-encoding": "zip" }), 400, "invalid_request");
  await assertError(await post("{}", { "content-type": "application/json; charset=nonsense" }), 400, "invalid_request");
  // A route may take any JSON value, and judges it.
  for (const value of [null, 5, "x", []]) assert.deepEqual(await (await post(JSON.stringify(value))).json(), { body: value });
});

test("paths: unknown ones are named, badly encoded ones are the client's fault", async () => {
  const error = await assertError(await call("/no/such%20route?x=1"), 404, "route_not_found");
  assert.match(String(error["message"]), /GET \/no\/such%20route/);
  await assertError(await call("/things/%zz"), 400, "invalid_request");
  assert.deepEqual(await (await call("/things/a%20b")).json(), { id: "a b" });
});

test("errors have one shape: details beside the code, which they can't replace", async () => {
  const error = await assertError(await call("/fails/known"), 422, "too_few_examples");
  assert.deepEqual([error["message"], error["param"], error["rows"]], ["There are 3 rows.", "domain", 3]);
  const busy = await call("/fails/busy");
  assert.equal(busy.headers.get("retry-after"), "17");
  await assertError(busy, 503, "overloaded");
});

test("what nobody foresaw tells the client nothing, and the log everything under the request's id", async () => {
  const response = await call("/fails/unforeseen");
  const id = response.headers.get("x-request-id") ?? "";
  const error = await assertError(response, 500, "internal_error");
  assert.ok(!JSON.stringify(error).includes("secret"));
  const line = logged.find((text) => text.includes(id)) ?? "";
  assert.match(line, /the disk broke at \/secret\/path/);
});

test("an error after the first byte cuts the connection instead of pretending", async () => {
  await assert.rejects(async () => (await call("/fails/late")).text());
});

test("requests are counted by the route's pattern, never by the path", async () => {
  for (const id of ["secret-1", "secret-2"]) await call(`/things/${id}`);
  const text = await (await call("/metrics")).text();
  assert.match(text, /everlora_http_requests_total\{method="GET",route="\/things\/:id",code="200",service="control"\} \d+/);
  assert.ok(!text.includes("secret-1"));
  assert.match(text, /everlora_http_requests_total\{method="GET",route="none",code="404"/);
});

test("a port in use is named with its setting", async () => {
  const app = createApp({ router: Router(), apiKey, metrics: createMetrics("control"), log: pino({ level: "silent" }), maxBodyBytes: 10, notReady: () => null });
  await assert.rejects(listen(app, "127.0.0.1", server.port, "GATEWAY_PORT"), { code: "port_in_use", param: "GATEWAY_PORT", message: new RegExp(`GATEWAY_PORT=${server.port}: another program`) });
  await assert.rejects(listen(app, "192.0.2.1", 0, "GATEWAY_PORT"), { code: "invalid_settings", param: "HOST", message: /^HOST="192\.0\.2\.1": /, hint: /127\.0\.0\.1/ });
});

test("closing waits for the answer in flight, and cuts it only after the grace", async () => {
  const router = Router();
  const events = new EventEmitter();
  const arrived = once(events, "arrived");
  router.get(
    "/slow",
    handler(async (_request, response) => {
      const leave = once(events, "leave");
      events.emit("arrived");
      await leave;
      response.json({ done: true });
    }),
  );
  const options = { router, apiKey, metrics: createMetrics("control"), log: pino({ level: "silent" }), maxBodyBytes: 10, notReady: () => null };
  const patient = await listen(createApp(options), "127.0.0.1", 0, "X");
  const answer = fetch(`${patient.url}/slow`, { headers: key });
  await arrived;
  const closed = patient.close(60_000);
  events.emit("leave");
  assert.deepEqual(await (await answer).json(), { done: true });
  await closed;
  const hasty = await listen(createApp({ ...options, router: Router().get("/never", () => undefined) }), "127.0.0.1", 0, "X");
  const cut = assert.rejects(fetch(`${hasty.url}/never`, { headers: key }));
  await new Promise((resolve) => setImmediate(resolve));
  await Promise.all([hasty.close(0), cut]);
});

test("a body that is no JSON by its Content-Type is refused and not taken for none", async () => {
  for (const type of ["application/x-www-form-urlencoded", "text/plain"]) {
    const error = await assertError(await post('{"domain":"legal"}', { "content-type": type }), 400, "invalid_json");
    assert.match(String(error["message"]), new RegExp(type));
  }
  assert.deepEqual(await (await call("/echo", { method: "POST" })).json(), {});
  assert.deepEqual(await (await call("/echo", { method: "POST", body: "", headers: { "content-type": "text/plain" } })).json(), {});
});

test("headers that are too large, and what is no HTTP, get an answer in the same shape", async () => {
  await assertError(await call("/things/1", { headers: { "x-big": "a".repeat(200_000) } }), 431, "headers_too_large");
  const socket = connect(server.port, "127.0.0.1", () => socket.write("this is no HTTP\r\n\r\n"));
  const answer = await text(socket);
  assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/);
  assert.equal((JSON.parse(answer.slice(answer.indexOf("{"))) as { error: { code: string } }).error.code, "invalid_request");
});
