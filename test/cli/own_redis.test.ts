import assert from "node:assert/strict";
import { fork, spawn } from "node:child_process";
import { chmod, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { CrashBudget } from "../../cli/fleet/crash_budget.ts";
import { OwnRedis } from "../../cli/fleet/own_redis.ts";
import { freePort } from "../../cli/fleet/port.ts";
import { readRedisConfig, redisConfig, redisUrl } from "../../cli/fleet/redis_config.ts";
import { parentEnvironment } from "../../shared/config/settings.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis } from "../../shared/redis/redis.ts";
import { temporaryFolder } from "../support/folder.ts";
import { until } from "../support/wait.ts";

const searchPath = parentEnvironment()["PATH"] ?? "";

async function emptyFolder(context: TestContext): Promise<string> {
  return join(await temporaryFolder(context, 'its "own" redis'), "redis");
}

async function start(context: TestContext, folder: string) {
  const restarts: string[] = [];
  const givenUp: EverloraError[] = [];
  const redis = await OwnRedis.start({ folder, searchPath, onRestart: (reason) => restarts.push(reason), onGivenUp: (error) => givenUp.push(error), budget: new CrashBudget(3, 60_000, 1) });
  context.after(() => redis.stop());
  return { redis, restarts, givenUp };
}

/** Runs one command on a connection of its own; undefined when nobody answers, or the server goes while it is asked. */
async function ask<T>(url: string, command: (redis: Awaited<ReturnType<typeof openRedis>>) => Promise<T>): Promise<T | undefined> {
  const redis = await openRedis(url, "failFast", silentLogger).catch(() => undefined);
  if (redis === undefined) return undefined;
  return command(redis)
    .catch(() => undefined)
    .finally(() => redis.disconnect());
}

/** What the server says once it does: right after a start, on a busy machine, the first connection may be refused. */
const answer = <T>(url: string, command: (redis: Awaited<ReturnType<typeof openRedis>>) => Promise<T>): Promise<T> => until("an answer", () => ask(url, command));
const serverPid = async (url: string) => Number(/process_id:(\d+)/.exec(await answer(url, (redis) => redis.info("server")))?.[1]);

test("what was written is there after a stop and a start, in a folder with odd characters", async (context) => {
  const folder = await emptyFolder(context);
  const first = await start(context, folder);
  await answer(first.redis.url, (redis) => redis.set("kept", "yes"));
  await first.redis.stop();
  assert.equal(await ask(first.redis.url, (redis) => redis.get("kept")), undefined, "it is gone");
  const second = await start(context, folder);
  assert.equal(await answer(second.redis.url, (redis) => redis.get("kept")), "yes");
  assert.equal(await answer(second.redis.url, async (redis) => (await redis.config("GET", "maxmemory-policy")) as unknown).then((reply) => (reply as string[])[1]), "noeviction");
});

test("it wants its password, and only its owner can read it", async (context) => {
  const folder = await emptyFolder(context);
  const { redis } = await start(context, folder);
  const { port } = new URL(redis.url);
  assert.equal(await ask(`redis://127.0.0.1:${port}`, (client) => client.get("x")), undefined);
  assert.equal((await stat(join(folder, "redis.conf"))).mode & 0o777, 0o600);
});

test("a server that is killed comes back with its address and data", async (context) => {
  const { redis, restarts } = await start(context, await emptyFolder(context));
  await answer(redis.url, async (client) => {
    await client.config("SET", "appendfsync", "always");
    return client.set("kept", "yes");
  });
  process.kill(await serverPid(redis.url), "SIGKILL");
  await until("it answers again", async () => restarts.length === 1 && (await ask(redis.url, (client) => client.get("kept"))) === "yes");
});

test("a server that can't be kept running is given up", async (context) => {
  const { redis, givenUp, restarts } = await start(context, await emptyFolder(context));
  while (givenUp.length === 0) {
    const seen = restarts.length;
    process.kill(await serverPid(redis.url), "SIGKILL");
    await until("that was noticed", () => restarts.length > seen || givenUp.length > 0);
  }
  assert.match(givenUp[0]?.message ?? "", /signal SIGKILL|exit code 137/);
  assert.equal(restarts.length, 2);
});

test("a server dies with an owner that is killed", async (context) => {
  const folder = await emptyFolder(context);
  const owner = fork(fileURLToPath(new URL("../support/redis_owner.ts", import.meta.url)), [folder]);
  context.after(() => owner.kill("SIGKILL"));
  const url = await new Promise<string>((resolve) => owner.once("message", (message) => resolve(typeof message === "string" ? message : "")));
  assert.ok((await serverPid(url)) > 0);
  owner.kill("SIGKILL");
  await until("nobody answers", async () => (await ask(url, (redis) => redis.ping())) === undefined);
});

test("a server dies with its owner even when its folder is gone and it could not write", async (context) => {
  const folder = await emptyFolder(context);
  const owner = fork(fileURLToPath(new URL("../support/redis_owner.ts", import.meta.url)), [folder]);
  context.after(() => owner.kill("SIGKILL"));
  const url = await new Promise<string>((resolve) => owner.once("message", (message) => resolve(typeof message === "string" ? message : "")));
  await answer(url, (redis) => redis.config("SET", "save", "3600 1")); // so that it wants to write a snapshot when it ends
  await answer(url, (redis) => redis.set("lost", "yes"));
  await rm(folder, { recursive: true });
  owner.kill("SIGKILL");
  await until("nobody answers", async () => (await ask(url, (redis) => redis.ping())) === undefined);
});

test("a server that a killed run left behind is ended before another one uses its files", async (context) => {
  const folder = await emptyFolder(context);
  await mkdir(folder);
  const address = { port: await freePort(), password: "left-behind" };
  await writeFile(join(folder, "redis.conf"), redisConfig(address, folder));
  const leftover = spawn("redis-server", [join(folder, "redis.conf")], { stdio: "ignore" });
  context.after(() => leftover.kill("SIGKILL"));
  const ended = new Promise((resolve) => leftover.once("exit", resolve));
  await until("it runs", async () => (await ask(redisUrl(address), (redis) => redis.set("kept", "yes"))) === "OK");
  const { redis } = await start(context, folder);
  await ended;
  assert.equal(await answer(redis.url, (client) => client.get("kept")), "yes", "it wrote what it had");
});

test("no server on the path is said so", async (context) => {
  const folder = await emptyFolder(context);
  await assert.rejects(OwnRedis.start({ folder, searchPath: "/nowhere", onRestart: () => undefined, onGivenUp: () => undefined }), (error: unknown) => error instanceof EverloraError && error.code === "redis_missing");
});

test("a server that refuses to start is quoted, and valkey-server is as good as redis-server", async (context) => {
  const bin = await temporaryFolder(context, "bin");
  await writeFile(join(bin, "valkey-server"), "#!/bin/sh\necho 'Fatal: the moon is full'\nexit 3\n");
  await chmod(join(bin, "valkey-server"), 0o755);
  const folder = await emptyFolder(context);
  await assert.rejects(OwnRedis.start({ folder, searchPath: `${bin}`, onRestart: () => undefined, onGivenUp: () => undefined }), /valkey-server ended with exit code 3[^]*the moon is full/);
});

test("the configuration can be read back", async () => {
  const address = { port: 12_345, password: "abc" };
  assert.deepEqual(readRedisConfig(redisConfig(address, "/tmp/x")), address);
  assert.equal(readRedisConfig("port 1\n"), undefined);
  assert.equal(readRedisConfig(await readFile(fileURLToPath(import.meta.url), "utf8")), undefined);
  assert.equal(redisUrl(address), "redis://:abc@127.0.0.1:12345/0");
});
