import assert from "node:assert/strict";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { CrashBudget } from "../../cli/fleet/crash_budget.ts";
import { SupervisedService } from "../../cli/fleet/service.ts";
import { parentEnvironment } from "../../shared/config/settings.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { temporaryFolder } from "../support/folder.ts";
import { isAlive, untilGone } from "../support/processes.ts";
import { until } from "../support/wait.ts";

const script = fileURLToPath(new URL("../support/scripted_service.ts", import.meta.url));

function supervise(context: TestContext, mode: string, options: { graceMs?: number } = {}) {
  const lines: string[] = [];
  const restarts: string[] = [];
  const givenUp: EverloraError[] = [];
  const service = new SupervisedService({
    name: "gateway",
    script,
    environment: { ...parentEnvironment(), SCRIPTED_NAME: "gateway", SCRIPTED_GATEWAY: mode },
    onLine: (line) => lines.push(line),
    onRestart: (reason) => restarts.push(reason),
    onGivenUp: (error) => givenUp.push(error),
    budget: new CrashBudget(3, 60_000, 1),
    ...options,
  });
  context.after(() => service.stop());
  return { service, lines, restarts, givenUp };
}

const failure = async (promise: Promise<unknown>): Promise<EverloraError> => {
  const error: unknown = await promise.then(
    () => assert.fail("it started"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof EverloraError);
  return error;
};

test("a service becomes ready, tells its URL and details, and ends on stop", async (context) => {
  const { service, lines } = supervise(context, "ok");
  const ready = await service.start();
  assert.equal(ready.url, "http://gateway");
  assert.equal(ready.details["gateway_pid"], String(service.pid));
  const pid = service.pid ?? 0;
  await service.stop();
  assert.equal(isAlive(pid), false);
  assert.ok(
    lines.some((line) => line.includes('"closed"')),
    "it was ended in an orderly way",
  );
});

test("a service that crashes at its start is started again", async (context) => {
  const folder = await temporaryFolder(context, "service");
  const { service, restarts, lines } = supervise(context, `crash-once:${join(folder, "mark")}`);
  await service.start();
  assert.deepEqual(restarts, ["exit code 7"]);
  assert.ok(lines.includes("Error: boom"), "what it said before it crashed is shown");
});

test("a service that crashes after it was ready is started again", async (context) => {
  const folder = await temporaryFolder(context, "service");
  const { service, restarts } = supervise(context, `late-crash-once:${join(folder, "mark")}`);
  const first = (await service.start()).details["gateway_pid"];
  await until("ready again", () => service.ready?.details["gateway_pid"] !== first);
  assert.deepEqual(restarts, ["exit code 7"]);
});

test("a service that is killed is started again", async (context) => {
  const { service, restarts } = supervise(context, "ok");
  await service.start();
  const first = service.pid ?? 0;
  process.kill(first, "SIGKILL");
  await until("another process", () => service.pid !== undefined && service.pid !== first);
  assert.deepEqual(restarts, ["signal SIGKILL"]);
});

test("a service that never starts is given up, with the count", async (context) => {
  const { service, restarts } = supervise(context, "crash");
  const error = await failure(service.start());
  assert.equal(error.code, "service_failed");
  assert.match(error.message, /gateway ended with exit code 7, 3 times within 60 s/);
  assert.equal(restarts.length, 2);
});

test("a service that keeps crashing after it was ready is given up", async (context) => {
  const { service, givenUp, restarts } = supervise(context, "late-crash");
  await service.start();
  await until("given up", () => givenUp.length > 0);
  assert.equal(givenUp[0]?.code, "service_failed");
  assert.equal(restarts.length, 2);
  assert.equal(service.pid, undefined);
});

test("bad settings are told in the service's words and not tried again", async (context) => {
  const { service, restarts } = supervise(context, "bad-settings");
  const error = await failure(service.start());
  assert.equal(error.code, "invalid_settings");
  assert.match(error.message, /LORA_RANK="0": too small/);
  assert.equal(error.param, "LORA_RANK");
  assert.deepEqual(restarts, []);
});

test("bad settings that come later, when it was ready before, are not tried again either", async (context) => {
  const { service, restarts, givenUp } = supervise(context, `late-bad-settings:${join(await temporaryFolder(context, "service"), "mark")}`);
  await service.start();
  await until("it is given up", () => givenUp.length > 0);
  assert.equal(givenUp[0]?.code, "invalid_settings");
  assert.equal(restarts.length, 1, "after the crash, and not after the settings");
});

test("a port in use is told with its hint and not tried again", async (context) => {
  const { service, restarts } = supervise(context, "port-in-use");
  const error = await failure(service.start());
  assert.equal(error.code, "port_in_use");
  assert.equal(error.hint, "Choose another.");
  assert.deepEqual(restarts, []);
});

test("a service that doesn't end is killed after its grace", async (context) => {
  const { service, lines } = supervise(context, "stubborn", { graceMs: 2_000 });
  await service.start();
  const pid = service.pid ?? 0;
  await service.stop();
  await untilGone(pid);
  assert.ok(
    lines.some((line) => line.includes("not yet")),
    "it was asked first",
  );
});

test("stop while a service is starting ends it and rejects the start", async (context) => {
  const { service } = supervise(context, "silent");
  const start = failure(service.start());
  await until("it runs", () => service.pid !== undefined);
  const pid = service.pid ?? 0;
  await service.stop();
  assert.equal((await start).code, "cancelled");
  assert.equal(isAlive(pid), false);
});

test("the budget doubles its delay and forgets crashes that are long ago", () => {
  const budget = new CrashBudget(3, 1_000, 100);
  assert.equal(budget.crashed(0), 100);
  assert.equal(budget.crashed(500), 200);
  assert.equal(budget.crashed(1_200), 200, "the first is forgotten");
  assert.equal(budget.crashed(1_300), null);
});
