/** The launcher in a copy of the checkout, with stand-ins for node, npm and the package managers on a PATH of its own. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, copyFile, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { test, type TestContext } from "node:test";
import { parentEnvironment, projectRoot } from "../../shared/config/settings.ts";
import { temporaryFolder } from "../support/folder.ts";

/** What the launcher may use of the system: POSIX utilities only. */
const utilities = ["sh", "dirname", "readlink", "cat", "cmp", "mktemp", "rm", "mv", "ln", "mkdir", "sed", "uname", "env", "sleep", "touch"];
const programs = {
  node: `if [ "$1" = -p ]; then echo "\${FAKE_NODE:-20.11.0} 115"; else printf 'ran in %s:' "$PWD"; printf ' [%s]' "$@"; echo; fi`,
  npm: `echo "npm $*" >> "$CALLS"; echo "ONNXRUNTIME_NODE_INSTALL=$ONNXRUNTIME_NODE_INSTALL" >> "$CALLS"
if [ -n "\${NPM_FAILS:-}" ]; then echo 'npm error no such package'; exit 1; fi
sleep "\${NPM_SECONDS:-0}"; echo 'added 3 packages'; mkdir -p node_modules/tsx/dist`,
  id: `echo "\${FAKE_UID:-0}"`,
  "apt-get": `echo "apt-get $*" >> "$CALLS"; case "$*" in *install*) case "$*" in *"\${APT_HAS:-redis}"-server) touch "$BIN/\${APT_HAS:-redis}-server"; chmod +x "$BIN/\${APT_HAS:-redis}-server" ;; *) echo 'E: Unable to locate package'; exit 100 ;; esac ;; esac`,
} as const;

async function checkout(context: TestContext) {
  const top = await temporaryFolder(context, "the launcher");
  const root = join(top, "the check out #1");
  const bin = join(top, "bin");
  const calls = join(top, "calls");
  await mkdir(bin);
  await mkdir(root);
  await copyFile(join(projectRoot, "everlora"), join(root, "everlora"));
  await writeFile(join(root, "package-lock.json"), '{"version": 1}');
  await writeFile(calls, "");
  const path = (parentEnvironment()["PATH"] ?? "").split(delimiter);
  for (const utility of utilities) await symlink(await findOn(path, utility), join(bin, utility));
  await symlink(await findOn(path, "chmod"), join(bin, "chmod"));
  const put = async (name: string, body: string) => {
    await writeFile(join(bin, name), `#!/bin/sh\n${body}\n`);
    await chmod(join(bin, name), 0o755);
  };
  for (const [name, body] of Object.entries(programs)) await put(name, body);

  const launch = async (parameters: readonly string[], environment: Record<string, string> = {}, script = join(root, "everlora")) => {
    const child = spawn(script, parameters, { cwd: top, env: { PATH: bin, BIN: bin, CALLS: calls, TMPDIR: top, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    return { code, stdout, stderr };
  };
  return {
    top,
    root,
    bin,
    launch,
    put,
    remove: (name: string) => rm(join(bin, name)),
    calls: async () => (await readFile(calls, "utf8")).split("\n").filter((line) => line !== ""),
  };
}

async function findOn(path: readonly string[], name: string): Promise<string> {
  for (const folder of path) {
    const file = join(folder, name);
    if (await readFile(file).then(() => true, () => false)) return file;
  }
  throw new Error(`this test needs ${name}`);
}

const npmCalls = (calls: readonly string[]) => calls.filter((line) => line.startsWith("npm "));

test("it installs once, hands over the arguments as they are, and stays in the caller's folder", async (context) => {
  const { launch, top, root, calls } = await checkout(context);
  const first = await launch(["settings", "a b", "", "*"]);
  assert.equal(first.code, 0, first.stderr);
  assert.equal(first.stdout, `ran in ${top}: [--import] [${join(root, "node_modules/tsx/dist/loader.mjs").replaceAll("#", "%23")}] [${join(root, "cli/main.ts")}] [settings] [a b] [] [*]\n`);
  assert.deepEqual(await calls(), ["npm ci --include=dev --no-audit --no-fund", "ONNXRUNTIME_NODE_INSTALL=skip"]);
  assert.ok(!first.stderr.includes("added 3 packages"), "npm is quiet when it succeeds");
  const second = await launch(["settings"]);
  assert.equal(second.stderr, "");
  assert.equal(npmCalls(await calls()).length, 1);
});

test("a changed lockfile is installed again", async (context) => {
  const { launch, root, calls } = await checkout(context);
  await launch(["settings"]);
  await writeFile(join(root, "package-lock.json"), '{"version": 2}');
  await launch(["settings"]);
  assert.equal(npmCalls(await calls()).length, 2);
});

test("the CUDA download of onnxruntime-node can be asked for", async (context) => {
  const { launch, calls } = await checkout(context);
  await launch(["settings"], { ONNXRUNTIME_NODE_INSTALL: "cuda12" });
  assert.ok((await calls()).includes("ONNXRUNTIME_NODE_INSTALL=cuda12"));
});

test("a failed installation shows what npm said, and the next start tries again", async (context) => {
  const { launch, calls } = await checkout(context);
  const failed = await launch(["settings"], { NPM_FAILS: "yes" });
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /npm error no such package[^]*npm ci failed/);
  assert.equal(failed.stdout, "");
  assert.equal((await launch(["settings"])).code, 0);
  assert.equal(npmCalls(await calls()).length, 2);
});

test("two at once install once", async (context) => {
  const { launch, calls } = await checkout(context);
  const both = await Promise.all([launch(["settings"], { NPM_SECONDS: "1" }), launch(["settings"], { NPM_SECONDS: "1" })]);
  assert.deepEqual(
    both.map(({ code }) => code),
    [0, 0],
  );
  assert.equal(npmCalls(await calls()).length, 1);
});

test("the lock of a launcher that is gone is taken over", async (context) => {
  const { launch, root } = await checkout(context);
  await mkdir(join(root, ".everlora"));
  await symlink("4194305", join(root, ".everlora", "install.lock")); // larger than any process number
  assert.equal((await launch(["settings"])).code, 0);
});

test("it works through symlinks, relative ones too", async (context) => {
  const { launch, top, root } = await checkout(context);
  await symlink(join("the check out #1", "everlora"), join(top, "one"));
  await symlink("one", join(top, "two"));
  const { stdout, code } = await launch(["settings"], {}, join(top, "two"));
  assert.equal(code, 0);
  assert.ok(stdout.includes(join(root, "cli/main.ts")));
});

test("no Node, an old Node and no npm are said so", async (context) => {
  const { launch, remove } = await checkout(context);
  const old = await launch(["settings"], { FAKE_NODE: "18.19.1" });
  assert.equal(old.code, 1);
  assert.match(old.stderr, /Node\.js 18\.19\.1 is too old: everlora needs version 20/);
  await remove("npm");
  assert.match((await launch(["settings"])).stderr, /npm is missing/);
  await remove("node");
  assert.match((await launch(["settings"])).stderr, /Node\.js is missing\. Install version 20/);
});

test("a missing Redis server is installed by root, after the lists were refreshed", async (context) => {
  const { launch, calls } = await checkout(context);
  const { code, stderr } = await launch(["demo", "--json"]);
  assert.equal(code, 0, stderr);
  assert.deepEqual((await calls()).slice(2), ["apt-get -q update", "apt-get -q -y install --no-install-recommends redis-server"]);
  await launch(["demo"]);
  assert.equal((await calls()).length, 4, "it is there now");
});

test("Valkey is as good as Redis", async (context) => {
  const { launch, calls } = await checkout(context);
  assert.equal((await launch(["up"], { APT_HAS: "valkey" })).code, 0);
  assert.match((await calls()).at(-1) ?? "", /install --no-install-recommends valkey-server$/);
});

test("without root it uses a sudo that asks for no password", async (context) => {
  const { launch, calls, put } = await checkout(context);
  await put("sudo", `[ "$1" = -n ] && shift; [ "$1" = true ] && exit 0; echo "sudo $*" >> "$CALLS"; exec "$@"`);
  assert.equal((await launch(["up"], { FAKE_UID: "1000" })).code, 0);
  assert.ok((await calls()).includes("sudo env DEBIAN_FRONTEND=noninteractive apt-get -q update"));
});

test("without root and sudo it says exactly what to type", async (context) => {
  const { launch, calls, put } = await checkout(context);
  for (const prepare of [async () => undefined, () => put("sudo", "echo 'sudo: a password is required' >&2; exit 1")]) {
    await prepare();
    const { code, stderr, stdout } = await launch(["up"], { FAKE_UID: "1000" });
    assert.equal(code, 1);
    assert.match(stderr, /installing one needs root[^]*sudo apt-get update && sudo apt-get install redis-server[^]*REDIS_URL/);
    assert.equal(stdout, "");
  }
  assert.ok(!(await calls()).some((line) => line.startsWith("apt-get")));
});

test("an installation of Redis that fails shows its output and what to type", async (context) => {
  const { launch } = await checkout(context);
  const { code, stderr } = await launch(["up"], { APT_HAS: "nothing" });
  assert.equal(code, 1);
  assert.match(stderr, /Unable to locate package[^]*failed with the output above[^]*sudo apt-get install redis-server/);
});

for (const [manager, words] of [
  ["dnf", "dnf -q -y install redis"],
  ["apk", "apk add -q redis"],
  ["brew", "brew install -q redis"],
] as const) {
  test(`it knows ${manager}`, async (context) => {
    const { launch, calls, put, remove } = await checkout(context);
    await remove("apt-get");
    await put(manager, `echo "${manager} $*" >> "$CALLS"; touch "$BIN/redis-server"; chmod +x "$BIN/redis-server"`);
    assert.equal((await launch(["up"])).code, 0);
    assert.equal((await calls()).at(-1), words);
  });
}

test("no package manager: it says what is needed", async (context) => {
  const { launch, remove } = await checkout(context);
  await remove("apt-get");
  const { code, stderr } = await launch(["test"]);
  assert.equal(code, 1);
  assert.match(stderr, /no Redis server[^]*redis-server is on the PATH/);
});

test("no server is looked for where none is needed", async (context) => {
  const { launch, calls } = await checkout(context);
  for (const parameters of [["settings"], ["--help"], ["up", "--help"], ["demo", "-h"], []]) assert.equal((await launch(parameters)).code, 0);
  assert.equal((await launch(["up"], { REDIS_URL: "redis://elsewhere" })).code, 0);
  assert.ok(!(await calls()).some((line) => line.startsWith("apt-get")));
  await launch(["demo"], { REDIS_URL: "redis://elsewhere" });
  assert.ok((await calls()).some((line) => line.startsWith("apt-get")), "the demo never uses a server that is in use");
});
