import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { serviceNames } from "../../cli/fleet/fleet.ts";
import { parentEnvironment } from "../../shared/config/settings.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis } from "../../shared/redis/redis.ts";
import { temporaryFolder } from "../support/folder.ts";
import { isAlive, untilGone } from "../support/processes.ts";
import { startRedis } from "../support/redis.ts";
import { until } from "../support/wait.ts";

const driver = fileURLToPath(new URL("../support/up_driver.ts", import.meta.url));
const lineSchema = z.looseObject({ msg: z.string(), service: z.string(), level: z.string() });
type Line = z.infer<typeof lineSchema>;

const dataFolder = (context: TestContext) => temporaryFolder(context, "to be up");

/** Starts `up` on a folder; `lines` are its JSON lines so far. */
function start(context: TestContext, folder: string, environment: Record<string, string> = {}) {
  const { NODE_TEST_CONTEXT: _, REDIS_URL: __, ...inherited } = parentEnvironment();
  const child = spawn(process.execPath, [...process.execArgv, driver], { env: { ...inherited, DATA_DIR: folder, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
  context.after(async () => {
    child.kill("SIGTERM");
    await until("up ended", () => child.exitCode !== null || child.signalCode !== null);
  });
  const lines: Line[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(lineSchema.parse(JSON.parse(line))));
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  let exit: number | string | null = null;
  child.once("close", (code, signal) => (exit = signal ?? code));
  const find = (msg: string) => lines.find((line) => line.msg === msg);
  return {
    child,
    lines,
    find,
    errors: () => errors,
    exit: async () => {
      await until("up ended", () => exit !== null);
      return exit;
    },
    ready: async () => {
      await until(`up is up; so far: ${errors}`, () => find("everlora is up") !== undefined || exit !== null);
      return z.looseObject({ urls: z.record(z.string(), z.string()) }).parse(find("everlora is up"));
    },
    pids: () => serviceNames.map((name) => Number(find("everlora is up")?.[`${name}_pid`])),
  };
}

async function redisAddress(folder: string): Promise<string> {
  const config = await readFile(join(folder, ".everlora", "redis", "redis.conf"), "utf8");
  return `redis://:${/requirepass "(\w+)"/.exec(config)?.[1]}@127.0.0.1:${/port "(\d+)"/.exec(config)?.[1]}`;
}
const answers = async (url: string) =>
  openRedis(url, "failFast", silentLogger).then(
    (redis) => (redis.disconnect(), true),
    () => false,
  );

test("up starts everything, says where, and ends it in order on SIGINT, leaving no process", async (context) => {
  const folder = await dataFolder(context);
  const run = start(context, folder);
  const { urls } = await run.ready();
  assert.deepEqual(urls, { gateway: "http://gateway", collector: "http://collector", trainer: "http://trainer", control: "http://control" });
  const redis = await redisAddress(folder);
  assert.equal(await answers(redis), true);
  const key = (await readFile(join(folder, ".everlora", "api-key"), "utf8")).trim();
  assert.ok(run.errors().includes(key), "the key is shown when it is made");
  assert.ok(!JSON.stringify(run.lines).includes(key), "and is in no log line");

  run.child.kill("SIGINT");
  assert.equal(await run.exit(), 0);
  assert.deepEqual(
    run.lines.filter(({ msg }) => msg === "closed").map(({ service }) => service),
    [...serviceNames],
    "in order",
  );
  await untilGone(...run.pids());
  assert.equal(await answers(redis), false, "Redis is gone, too");
});

test("the key is not shown a second time", async (context) => {
  const folder = await dataFolder(context);
  const first = start(context, folder);
  await first.ready();
  first.child.kill("SIGTERM");
  await first.exit();
  const second = start(context, folder);
  await second.ready();
  const key = (await readFile(join(folder, ".everlora", "api-key"), "utf8")).trim();
  assert.ok(first.errors().includes(key));
  assert.ok(!second.errors().includes(key));
  second.child.kill("SIGTERM");
  assert.equal(await second.exit(), 0);
});

test("a second up on the same folder is refused and disturbs nothing", async (context) => {
  const folder = await dataFolder(context);
  const first = start(context, folder);
  await first.ready();
  const second = start(context, folder);
  assert.equal(await second.exit(), 1);
  assert.match(second.errors(), new RegExp(`Process ${first.child.pid} runs everlora on .* already`));
  assert.match(second.errors(), /DATA_DIR=/);
  assert.ok(first.pids().every(isAlive));
  assert.equal(await answers(await redisAddress(folder)), true);
});

test("killing up leaves nothing behind, and the next up takes over", async (context) => {
  const folder = await dataFolder(context);
  // Some write to a stdout that nobody reads any more.
  const first = start(context, folder, { SCRIPTED_GATEWAY: "chatty", SCRIPTED_TRAINER: "chatty" });
  await first.ready();
  const redis = await redisAddress(folder);
  first.child.kill("SIGKILL");
  await untilGone(...first.pids());
  await until("Redis is gone", async () => !(await answers(redis)));
  const second = start(context, folder);
  await second.ready();
  second.child.kill("SIGTERM");
  assert.equal(await second.exit(), 0);
});

test("a signal that a wrapper passes on a second time is one signal", async (context) => {
  const run = start(context, await dataFolder(context));
  await run.ready();
  run.child.kill("SIGINT");
  run.child.kill("SIGINT");
  assert.equal(await run.exit(), 0);
  assert.equal(run.lines.filter(({ msg }) => msg === "closed").length, serviceNames.length);
});

test("a second signal ends a stubborn service at once", async (context) => {
  const folder = await dataFolder(context);
  const run = start(context, folder, { SCRIPTED_GATEWAY: "stubborn" });
  await run.ready();
  const pids = run.pids().filter((pid) => !Number.isNaN(pid));
  assert.equal(pids.length, 3, "the stubborn one tells no pid");
  run.child.kill("SIGINT");
  await until("it was asked", () => run.find("not yet") !== undefined);
  const stubborn = Number(run.find("not yet")?.["pid"]);
  // Not too soon after the first: that would be taken for its echo.
  await until("it ended", () => {
    run.child.kill("SIGINT");
    return run.child.exitCode !== null;
  });
  assert.equal(await run.exit(), 130);
  await untilGone(stubborn, ...pids);
});

test("a service that crashes is started again while the others go on", async (context) => {
  const folder = await dataFolder(context);
  const run = start(context, folder, { SCRIPTED_COLLECTOR: `late-crash-once:${join(folder, "mark")}` });
  await run.ready();
  await until("it was said", () => run.find("collector crashed") !== undefined);
  const [gateway] = run.pids();
  const pidsOfReady = () => new Set(run.lines.filter(({ msg }) => msg === "collector is ready").map(({ pid }) => pid));
  await until("it is ready again", () => pidsOfReady().size === 2);
  assert.ok(isAlive(gateway ?? 0));
});

const failures: { name: string; environment: Record<string, string>; code: number; words: RegExp }[] = [
  { name: "bad settings of its own", environment: { LORA_RANK: "0" }, code: 2, words: /LORA_RANK="0"/ },
  { name: "settings that a service refuses", environment: { SCRIPTED_TRAINER: "bad-settings" }, code: 2, words: /trainer: LORA_RANK="0": too small/ },
  { name: "a port in use", environment: { SCRIPTED_GATEWAY: "port-in-use" }, code: 1, words: /GATEWAY_PORT=1: another program listens there[^]*Choose another/ },
  { name: "a service that never starts", environment: { SCRIPTED_CONTROL: "crash" }, code: 1, words: /control ended with exit code 7, 5 times within 60 s/ },
  { name: "a DATA_DIR that can't be made", environment: { DATA_DIR: "/proc/x" }, code: 2, words: /DATA_DIR="\/proc\/x": cannot be written: [^]*Name a folder/ },
  { name: "a base model that is not there", environment: { BASE_MODEL: "nonsense" }, code: 2, words: /BASE_MODEL="nonsense": .*no such folder.*base_models/ },
  { name: "no Redis at CACHE_REDIS_URL", environment: { CACHE_REDIS_URL: "redis://:geheim@127.0.0.1:1/0" }, code: 1, words: /Cannot reach Redis at 127\.0\.0\.1:1\/0[^]*CACHE_REDIS_URL/ },
  { name: "no Redis at REDIS_URL", environment: { REDIS_URL: "redis://:geheim@127.0.0.1:1/0" }, code: 1, words: /Cannot reach Redis at 127\.0\.0\.1:1\/0[^]*REDIS_URL/ },
];
for (const { name, environment, code, words } of failures) {
  test(`${name} ends up with its message and ${code}`, async (context) => {
    const folder = await dataFolder(context);
    const run = start(context, folder, environment);
    assert.equal(await run.exit(), code);
    assert.match(run.errors(), words);
    assert.ok(!run.errors().includes("geheim"), "a password is not told");
    const started = run.lines.filter(({ msg }) => msg.endsWith(" is ready")).map(({ pid }) => Number(pid));
    await untilGone(...started);
  });
}

test("with REDIS_URL no server is started", async (context) => {
  const folder = await dataFolder(context);
  const redis = await startRedis();
  context.after(() => redis.stop());
  const run = start(context, folder, { REDIS_URL: redis.url });
  await run.ready();
  await assert.rejects(redisAddress(folder), /ENOENT/);
  run.child.kill("SIGTERM");
  assert.equal(await run.exit(), 0);
  assert.equal(await answers(redis.url), true, "the server that was there stays");
});

test("a Redis that evicts is refused with the mend", async (context) => {
  const folder = await dataFolder(context);
  const redis = await startRedis();
  context.after(() => redis.stop());
  const client = await openRedis(redis.url, "failFast", silentLogger);
  await client.config("SET", "maxmemory-policy", "allkeys-lru");
  client.disconnect();
  const run = start(context, folder, { REDIS_URL: redis.url });
  assert.equal(await run.exit(), 1);
  assert.match(run.errors(), /allkeys-lru[^]*CONFIG SET maxmemory-policy noeviction/);
});
