import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { z } from "zod";
import { settingsTable } from "../../shared/config/settings.ts";
import { everlora } from "../support/command_line.ts";
import { temporaryFolder } from "../support/folder.ts";

async function run(parameters: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const running = everlora(parameters, environment);
  const code = await running.ended;
  return { code, stdout: running.stdout(), stderr: running.stderr() };
}

test("help lists the commands, and each command teaches itself", async () => {
  const { code, stdout } = await run(["--help"]);
  assert.equal(code, 0);
  const commands = [...stdout.matchAll(/^ {2}([a-z]+) /gm)].map((match) => match[1] ?? "").filter((name) => name !== "help");
  for (const expected of ["up", "demo", "test", "settings", "pretrain"]) assert.ok(commands.includes(expected), expected);
  for (const name of commands) {
    const help = await run([name, "--help"]);
    assert.equal(help.code, 0);
    assert.match(help.stdout, new RegExp(`^Usage: everlora ${name}`));
    assert.ok(help.stdout.length > 300, `${name} says more than its usage`);
  }
});

test("an unknown command or option is refused, and points at the help", async () => {
  for (const parameters of [["fly"], ["up", "--fast"]]) {
    const { code, stderr } = await run(parameters);
    assert.equal(code, 1);
    assert.match(stderr, /unknown (command|option)[^]*--help/);
  }
});

const rowsSchema = z.array(z.object({ name: z.string(), value: z.union([z.string(), z.number(), z.boolean(), z.null()]), from: z.enum(["environment", "default"]), default: z.string().nullable(), help: z.string() }));

test("settings shows every setting with its value and where that is from, and no secret", async () => {
  const { code, stdout } = await run(["settings", "--json"], { LORA_RANK: "8", UPSTREAM_API_KEY: "sk-geheim", CACHE_TTL: "" });
  assert.equal(code, 0);
  const rows = rowsSchema.parse(JSON.parse(stdout));
  assert.deepEqual(
    rows.map(({ name }) => name),
    Object.keys(settingsTable),
  );
  const row = (name: string) => rows.find((each) => each.name === name);
  assert.deepEqual([row("LORA_RANK")?.value, row("LORA_RANK")?.from], [8, "environment"]);
  assert.deepEqual([row("CACHE_TTL")?.value, row("CACHE_TTL")?.from], [86_400, "default"], "an empty value counts as not set");
  assert.equal(row("UPSTREAM_API_KEY")?.value, "(set)");
  assert.ok(!stdout.includes("geheim"));
  const table = await run(["settings"], { LORA_RANK: "8", UPSTREAM_API_KEY: "sk-geheim" });
  assert.match(table.stdout, /^LORA_RANK +8 +set +rank r of new adapters$/m);
  assert.ok(!table.stdout.includes("geheim"));
});

test("bad settings are all named at once, with exit code 2", async () => {
  const { code, stderr, stdout } = await run(["settings"], { LORA_RANK: "0", GATEWAY_PORT: "seventy", REDIS_URL: "http://secret@x" });
  assert.equal(code, 2);
  assert.match(stderr, /REDIS_URL=\(secret\)[^]*GATEWAY_PORT="seventy"[^]*LORA_RANK="0"/);
  assert.ok(!stderr.includes("secret@x"));
  assert.equal(stdout, "");
  const lines = stderr.split("\n");
  assert.equal(lines.filter((line) => /^(everlora:| ) +[A-Z_]+=/.test(line)).length, 3, "a line each");
  assert.match(lines[0] ?? "", /; without it `up` starts a Redis of its own\)$/, "a semicolon in a setting's description begins no line");
});

async function testFile(context: TestContext, name: string, body: string): Promise<string> {
  const folder = await temporaryFolder(context, "tests");
  const file = join(folder, name);
  await writeFile(file, `import { test, describe } from "node:test";\nimport assert from "node:assert/strict";\n${body}\n`);
  return file;
}

test("test counts what passed, failed and was skipped, and says why", async (context) => {
  const file = await testFile(
    context,
    "mixed.test.ts",
    `describe("group", () => { test("fine", () => {}); test("wrong", () => assert.equal(1, 2, "one is not two")); });
     test("later", (context) => context.skip("no moon tonight"));`,
  );
  const { code, stdout } = await run(["test", file]);
  assert.equal(code, 1);
  assert.match(stdout, /^1 passed, 1 failed, 1 skipped\n$/m);
  assert.match(stdout, /mixed\.test\.ts: wrong\n[^]*one is not two/);
  assert.match(stdout, /skipped: .*later \(no moon tonight\)/);
});

test("test succeeds when everything passes", async (context) => {
  const { code, stdout } = await run(["test", await testFile(context, "good.test.ts", 'test("fine", () => {});')]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /\n1 passed, 0 failed, 0 skipped\n$/);
});

test("a test file that can't be loaded, or holds no test, is a failure", async (context) => {
  const broken = await run(["test", await testFile(context, "broken.test.ts", 'throw new Error("no such luck");')]);
  assert.equal(broken.code, 1);
  assert.match(broken.stdout, /no such luck[^]*0 passed, 1 failed, 0 skipped/);
  const empty = await run(["test", await testFile(context, "empty.test.ts", "")]);
  assert.equal(empty.code, 1);
  assert.match(empty.stdout, /holds no test[^]*0 passed, 1 failed, 0 skipped/);
});
