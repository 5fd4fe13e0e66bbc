/** tfjs-core's own specs of ops and gradients on our backend. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { kernels } from "../../shared/tensor/kernels/table.ts";
import { specsLeftOut } from "./cases/specs.ts";
import type { SpecReport } from "./support/specs_child.ts";

async function runSpecs(): Promise<SpecReport> {
  const child = fork(fileURLToPath(new URL("support/specs_child.ts", import.meta.url)), { execArgv: ["--import", "tsx"], stdio: ["ignore", "ignore", "pipe", "ipc"] });
  const said: Buffer[] = [];
  child.stderr?.on("data", (chunk: Buffer) => said.push(chunk));
  let report: SpecReport | undefined;
  child.on("message", (message) => (report = message as SpecReport));
  await once(child, "close");
  assert.ok(report, `the process ended with ${child.exitCode ?? child.signalCode} and no report:\n${Buffer.concat(said).toString().slice(-4_000)}`);
  return report;
}

const { results, sessions, handedOver } = await runSpecs();
const of = (status: string) => results.filter((result) => result.status === status);

test("every spec passes, except for those of the table", () => {
  assert.deepEqual(
    results.filter(({ name, status }) => status !== "passed" && specsLeftOut[name] === undefined).map(({ name, status, message }) => `${name}: ${status} ${message}`),
    [],
  );
});

test("what the table leaves out is there, and does not pass", () => {
  for (const [name, { status, reason }] of Object.entries(specsLeftOut)) {
    assert.deepEqual(results.filter((result) => result.name === name).map((result) => result.status), [status], `${name} (${reason})`);
  }
});

test("all specs ran, on our backend: none was lost with a changed package or harness", () => {
  // 4,230 in tfjs-core 4.22.
  assert.ok(results.length >= 4_200, `${results.length} specs`);
  assert.ok(of("passed").length >= 0.99 * results.length);
  assert.ok(sessions > 1_000, `${sessions} sessions`);
});

test("the kernels that tfjs's CPU backend computes are known", (context) => {
  const without = handedOver.filter((name) => kernels[name] === undefined);
  context.diagnostic(`${results.length} specs, ${sessions} sessions; without a rule: ${without.join(" ")}`);
  assert.ok(without.length > 0);
});
