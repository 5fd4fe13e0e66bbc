/** The compose file: parsed, its promises checked, and given to docker compose where that is installed. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { z } from "zod";
import { loadSettings, projectRoot, settingsTable } from "../../shared/config/settings.ts";
import { runProgram } from "../support/programs.ts";

const file = join(projectRoot, "docker-compose.yml");
const serviceSchema = z.object({
  image: z.string(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).optional(),
  ports: z.array(z.string()).optional(),
  healthcheck: z.object({ test: z.array(z.string()) }),
  restart: z.string(),
  stop_grace_period: z.string().optional(),
  cap_drop: z.array(z.string()).optional(),
  user: z.string().optional(),
  networks: z.array(z.string()),
  volumes: z.array(z.string()).optional(),
});
const composeSchema = z.object({ services: z.record(z.string(), serviceSchema), networks: z.object({ inside: z.object({ internal: z.literal(true) }) }) });
const own = ["gateway", "collector", "trainer", "control"] as const;
const secrets = ["EVERLORA_API_KEY", "REDIS_PASSWORD", "GRAFANA_PASSWORD"] as const;

const text = await readFile(file, "utf8");
const { services } = composeSchema.parse(parse(text, { merge: true }));
const serviceOf = (name: string) => services[name] ?? assert.fail(`there is no service ${name}`);

test("all parts are there", () => {
  assert.deepEqual(Object.keys(services).sort(), [...own, "grafana", "prometheus", "redis", "redis-cache"].sort());
});

test("every port is published on this machine only", () => {
  const ports = Object.values(services).flatMap(({ ports: published = [] }) => published);
  assert.equal(ports.length, 4);
  for (const port of ports) assert.match(port, /^127\.0\.0\.1:/);
  assert.equal(serviceOf("redis").ports, undefined);
  assert.equal(serviceOf("redis-cache").ports, undefined);
});

test("no secret has a default, and an empty one is refused", () => {
  for (const secret of secrets) {
    const uses = [...text.matchAll(new RegExp(`\\$\\{${secret}([^}]*)\\}`, "g"))].map((match) => match[1] ?? "");
    assert.ok(uses.length > 0, secret);
    for (const rest of uses) assert.match(rest, /^:\?/, `${secret} must be refused when it is empty`);
  }
});

test("each service runs its own program, which is there, under settings that exist", () => {
  for (const name of own) {
    const { command, environment = {} } = serviceOf(name);
    assert.deepEqual(command, [`services/${name}/main.ts`]);
    assert.ok(existsSync(join(projectRoot, command[0] ?? "")));
    for (const setting of Object.keys(environment)) assert.ok(Object.hasOwn(settingsTable, setting), `${name}: ${setting}`);
    // Whoever sets nothing gets the defaults: compose passes empty values on.
    const filled = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, value.replaceAll(/\$\{\w+:\?[^}]*\}/g, "0123456789abcdef").replaceAll(/\$\{\w+:-\}/g, "")]));
    assert.equal(loadSettings(filled).MIN_EXAMPLES_PER_DOMAIN, 50);
  }
});

test("health checks ask each service at its own port", () => {
  const ports = { gateway: "GATEWAY_PORT", collector: "COLLECTOR_PORT", trainer: "TRAINER_PORT", control: "CONTROL_PORT" } as const;
  for (const name of own) assert.match(serviceOf(name).healthcheck.test.join(" "), new RegExp(`127\\.0\\.0\\.1:${settingsTable[ports[name]].default}/readyz`));
});

test("the queue keeps what it has, the cache evicts, and both want a password", () => {
  const queue = serviceOf("redis").command?.join(" ") ?? "";
  assert.match(queue, /requirepass[^]*--appendonly yes[^]*--maxmemory-policy noeviction/);
  assert.match(serviceOf("redis-cache").command?.join(" ") ?? "", /requirepass[^]*--maxmemory-policy allkeys-lru/);
});

test("nothing runs with more rights than it needs", async () => {
  for (const [name, { cap_drop: dropped }] of Object.entries(services)) assert.deepEqual(dropped, ["ALL"], name);
  const dockerfile = await readFile(join(projectRoot, "Dockerfile"), "utf8");
  assert.match(dockerfile, /^USER node$/m);
  for (const name of ["redis", "collector", "trainer"]) assert.deepEqual(serviceOf(name).networks, ["inside"]);
});

test("services get longer to end than they allow themselves", () => {
  for (const name of own) assert.ok(Number.parseInt(serviceOf(name).stop_grace_period ?? "0", 10) > 20);
});

test("the image is built from files that are there and are not ignored", async () => {
  const dockerfile = await readFile(join(projectRoot, "Dockerfile"), "utf8");
  const kept = (await readFile(join(projectRoot, ".dockerignore"), "utf8")).split("\n").filter((line) => line.startsWith("!"));
  const sources = [...dockerfile.matchAll(/^COPY (.+) \S+$/gm)].flatMap((match) => (match[1] ?? "").split(" "));
  assert.ok(sources.length >= 5);
  for (const source of sources) {
    assert.ok(existsSync(join(projectRoot, source)), source);
    assert.ok(kept.includes(`!${source}`), `${source} is ignored`);
  }
});

test("docker compose accepts it, and refuses it without secrets", (context) => {
  const version = runProgram("docker", ["compose", "version"]);
  if (version?.code !== 0) {
    context.skip("docker compose is not installed");
    return;
  }
  const config = (environment: Record<string, string>) => runProgram("docker", ["compose", "--env-file", "/dev/null", "-f", file, "config", "--quiet"], "", environment);
  const filled = config(Object.fromEntries(secrets.map((secret) => [secret, "0123456789abcdef"])));
  assert.equal(filled?.code, 0, filled?.output ?? "");
  for (const secret of secrets) {
    const refused = config(Object.fromEntries(secrets.map((name) => [name, name === secret ? "" : "0123456789abcdef"])));
    assert.notEqual(refused?.code, 0);
    assert.match(refused?.output ?? "", /is empty; see \.env\.example/);
  }
});
