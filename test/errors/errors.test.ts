import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { EverloraError, describeIssues, errorTable, messageOf, toEverloraError, type ErrorCode } from "../../shared/errors/errors.ts";

const codes = Object.keys(errorTable) as ErrorCode[];

test("every row has a status of its type, and a hint that is a sentence", () => {
  for (const code of codes) {
    const { status, type, hint } = errorTable[code];
    assert.match(code, /^[a-z]+(_[a-z]+)*$/);
    assert.ok(status >= 400 && status < 600, code);
    assert.equal(type === "server_error", status >= 500, `${code}: ${type} with ${status}`);
    assert.match(hint, /^[A-Z].{15,}$/, code);
  }
});

test("an error is its JSON: code, message, type, hint, and param where there is one", () => {
  assert.deepEqual(JSON.parse(JSON.stringify(new EverloraError("job_exists", "There is job 5."))), { error: { code: "job_exists", message: "There is job 5.", type: "conflict_error", hint: errorTable.job_exists.hint } });
  const error = new EverloraError("unprocessable", "The rank is 0.", { param: "rank", hint: "Use 16.", details: { bounds: [1, 256], code: "x", message: "y", type: "z", hint: "w" } });
  assert.deepEqual(error.toJSON().error, { bounds: [1, 256], code: "unprocessable", message: "The rank is 0.", type: "invalid_request_error", param: "rank", hint: "Use 16." });
  assert.deepEqual([error.status, error.retryable, error instanceof Error, error.name], [422, false, true, "EverloraError"]);
});

test("what is retryable is so by the table", () => {
  assert.deepEqual(codes.filter((code) => new EverloraError(code, "x").retryable), ["rate_limited", "overloaded", "redis_unavailable", "upstream_error", "upstream_timeout", "upstream_unavailable", "engine_unavailable", "model_download_failed"]);
});

test("anything thrown becomes an error that tells the client nothing, and keeps the cause for the log", () => {
  const own = new EverloraError("conflict", "x");
  assert.equal(toEverloraError(own), own);
  for (const thrown of [new Error("/secret"), "secret", undefined, null, { secret: 1 }]) {
    const error = toEverloraError(thrown);
    assert.equal(error.code, "internal_error");
    assert.ok(!JSON.stringify(error).includes("secret"));
    assert.equal(error.cause, thrown);
  }
  assert.deepEqual([messageOf(new Error("a")), messageOf("b"), messageOf(5), messageOf(undefined)], ["a", "b", "5", "undefined"]);
});

test("issues become one sentence that names each field, and no more than eight", () => {
  const parsed = z.strictObject({ a: z.object({ b: z.number() }), c: z.string() }).safeParse({ a: { b: "x" }, d: 1 });
  assert.match(describeIssues(parsed.error?.issues ?? []), /^a\.b: .*number.*; c: .*string.*; body: .*"d"/);
  assert.equal(describeIssues(Array.from({ length: 30 }, (_, at) => ({ path: [at], message: "bad" }))).split("; ").length, 8);
});
