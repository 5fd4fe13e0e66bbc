/** The arrows of the house: who may import whom, which file owns which foreign runtime, and that importing starts nothing. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { projectRoot } from "../shared/config/settings.ts";
import { findCycle, readModules, readSource, type Import, type Module } from "./support/imports.ts";

const modules = readModules("cli", "services", "shared");
const tests = readModules("test");

/** Where something may be imported by value, and why nowhere else. */
const owners: readonly { readonly what: RegExp; readonly file: string; readonly types: "allowed" | "owned"; readonly why: string }[] = [
  { what: /^onnxruntime-/, file: "shared/tensor/runtime.ts", types: "owned", why: "one file knows the runtime's API, and one place decides how it runs" },
  { what: /^ioredis$/, file: "shared/redis/redis.ts", types: "allowed", why: "every connection has one of two profiles and an error listener" },
];

/** Folders (the longest that fits counts) and the folders that their modules may import. */
const arrows: readonly (readonly [string, readonly string[]])[] = [
  ["services/gateway/", ["services/gateway/", "shared/"]],
  ["services/collector/", ["services/collector/", "shared/"]],
  ["services/trainer/", ["services/trainer/", "shared/"]],
  ["services/control/", ["services/control/", "shared/"]],
  ["shared/models/", ["shared/models/", "shared/errors/", "shared/config/", "shared/files/"]],
  ["shared/", ["shared/"]],
  ["cli/", ["cli/", "shared/"]],
];

/** Programs: what they do begins when they are imported. Everything else is a value until somebody calls it. */
const isProgram = (path: string) => path.endsWith("/main.ts") || path.endsWith("/child.ts");

/** Hand-written files of more lines, each with its reason. */
const longFiles: Readonly<Record<string, string>> = {};

const faultsOf = (inspect: (module: Module, imported: Import) => string | undefined) => modules.flatMap((module) => module.imports.flatMap((imported) => inspect(module, imported) ?? []));

test("the sources are there to be checked", () => {
  for (const path of ["cli/main.ts", "services/gateway/main.ts", "services/collector/main.ts", "services/trainer/main.ts", "services/control/main.ts", "shared/redis/redis.ts"]) {
    assert.ok(
      modules.some((module) => module.path === path),
      path,
    );
  }
});

test("services import shared only, shared imports shared, the command line imports shared", () => {
  const faults = faultsOf(({ path }, { target }) => {
    if (target === undefined) return undefined;
    const allowed = arrows.find(([folder]) => path.startsWith(folder))?.[1] ?? [];
    return allowed.some((folder) => target.startsWith(folder)) ? undefined : `${path} imports ${target}`;
  });
  assert.deepEqual(faults, []);
});

for (const { what, file, types, why } of owners) {
  test(`only ${file} imports ${what.source}: ${why}`, () => {
    const users = faultsOf(({ path }, { specifier, typeOnly }) => (what.test(specifier) && !(typeOnly && types === "allowed") ? path : undefined));
    assert.deepEqual([...new Set(users)], [file]);
  });
}

test("only shared/config/settings.ts reads the environment", () => {
  const readers = modules.filter(({ readsEnvironment, imports }) => readsEnvironment || imports.some(({ specifier }) => specifier === "node:process" || specifier === "process"));
  assert.deepEqual(
    readers.map(({ path }) => path),
    ["shared/config/settings.ts"],
  );
});

test("folders are made by shared/files/folder.ts: Node 20's recursive mkdir spins for ever where a file system takes none", async () => {
  const sources = await Promise.all(modules.map(async ({ path }) => ({ path, text: await readFile(join(projectRoot, path), "utf8") })));
  assert.deepEqual(
    sources.filter(({ text }) => /\bmkdir(?:Sync)?\([^;]*recursive/.test(text)).map(({ path }) => path),
    [],
  );
});

test("natural is imported by its parts: its root reads .env files and prints", () => {
  assert.deepEqual(
    faultsOf(({ path }, { specifier, typeOnly }) => (specifier === "natural" && !typeOnly ? path : undefined)),
    [],
  );
});

test("imports of our own modules name the file, with its extension, and need not be computed", () => {
  assert.deepEqual(
    faultsOf(({ path }, { specifier, target }) => {
      const isOwn = target !== undefined && /\.(ts|json)$/.test(target);
      const isPackage = /^(node:)?[@a-z][\w@./-]*$/.test(specifier);
      return isOwn || isPackage ? undefined : `${path}: ${specifier}`;
    }),
    [],
  );
});

test("no module imports itself in the end", () => {
  assert.equal(findCycle([...modules, ...tests]), undefined);
});

test("entry points only wire", () => {
  assert.deepEqual(
    modules.filter(({ path, lines }) => path.endsWith("/main.ts") && lines > 40).map(({ path, lines }) => `${path}: ${lines} lines`),
    [],
  );
});

test("no file is longer than 500 lines", () => {
  const long = [...modules, ...tests].filter(({ path, lines }) => lines > 500 && longFiles[path] === undefined);
  assert.deepEqual(
    long.map(({ path, lines }) => `${path}: ${lines} lines`),
    [],
  );
});

test("importing starts nothing: a process that imports every module but the programs ends by itself and prints nothing", async () => {
  const files = modules.filter(({ path }) => !isProgram(path)).map(({ path }) => path);
  const together = await importInChild(files);
  if (together === undefined) return;
  // Something did: say which.
  const guilty: string[] = [];
  for (const file of files) {
    const fault = await importInChild([file]);
    if (fault !== undefined) guilty.push(`${file}: ${fault}`);
  }
  assert.deepEqual(guilty, [], together);
});

/** What is wrong, or undefined. A process that is done ends within milliseconds; the limit is for slow machines. */
async function importInChild(files: readonly string[]): Promise<string | undefined> {
  const child = fork(fileURLToPath(new URL("support/import_all.ts", import.meta.url)), files.map((file) => join(projectRoot, file)), { stdio: ["ignore", "pipe", "pipe", "ipc"] });
  let output = "";
  let limit: NodeJS.Timeout | undefined;
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.once("message", () => (limit = setTimeout(() => child.kill("SIGKILL"), 10_000)));
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => child.once("close", (...how) => resolve(how)));
  clearTimeout(limit);
  if (signal !== null) return "it has started something that keeps the process alive";
  if (code !== 0) return `exit code ${code}: ${output}`;
  return output === "" ? undefined : `it prints: ${output}`;
}

test("the reader of imports sees every kind of import", () => {
  const text = `
    import a from "a"; import type b from "b"; import { type c } from "c"; import { d, type e } from "d"; import "f";
    export { g } from "g"; export type { h } from "h"; const i = await import("i"); const j = require("j"); const k = import(name);
    const home = process.env.HOME;`;
  const { imports, readsEnvironment } = readSource(text, () => undefined);
  assert.deepEqual(
    imports.map(({ specifier, typeOnly }) => `${specifier}${typeOnly ? " (type)" : ""}`),
    ["a", "b (type)", "c (type)", "d", "f", "g", "h (type)", "i", "j", "name"],
  );
  assert.equal(readsEnvironment, true);
  assert.equal(readSource('const text = "process.env"; // process.env', () => undefined).readsEnvironment, false);
});

test("the finder of cycles finds one, and leaves types out", () => {
  const module = (path: string, target: string, typeOnly = false) => ({ path, imports: [{ specifier: target, target, typeOnly }] });
  assert.deepEqual(findCycle([module("a", "b"), module("b", "c"), module("c", "b")]), ["b", "c", "b"]);
  assert.equal(findCycle([module("a", "b"), module("b", "a", true)]), undefined);
});
