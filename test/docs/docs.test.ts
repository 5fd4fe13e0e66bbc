/** What the documentation says is so: settings, routes, error codes, metrics, folders and links are compared with the sources. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { test } from "node:test";
import { projectRoot, settingsTable } from "../../shared/config/settings.ts";
import { errorTable } from "../../shared/errors/errors.ts";
import { metricsTable } from "../../shared/metrics/metrics.ts";
import { readModules } from "../support/imports.ts";

const documents = ["README.md", "docs/api.md", "docs/settings.md", "docs/operations.md", "docs/gateway.md", "docs/cache.md"] as const;
const read = (path: string) => readFile(join(projectRoot, path), "utf8");

test("docs/settings.md has every setting with its default and help, in the table's order", async () => {
  const written = (await read("docs/settings.md")).split("\n").filter((line) => line.startsWith("| `"));
  const expected = Object.entries<{ default?: string; help: string; secret?: true }>(settingsTable).map(([name, { default: fallback, help, secret }]) => {
    const shown = fallback === undefined ? "none" : fallback === projectRoot ? "the checkout" : `\`${fallback}\``;
    return `| \`${name}\` | ${shown} | ${help}${secret === true ? " (secret)" : ""} |`;
  });
  assert.deepEqual(written, expected);
});

test("docs/api.md has every route, and no other", async () => {
  const written = new Set([...(await read("docs/api.md")).matchAll(/^\| `(GET|POST|DELETE|PUT) (\/[^` ]*)` \|/gm)].map((match) => `${match[1]} ${match[2]}`));
  const served = new Set<string>();
  for (const { path } of readModules("services", "shared/http")) {
    for (const match of (await read(path)).matchAll(/\b(?:router|app)\.(get|post|delete|put)\(\s*"(\/[^"]*)"/g)) served.add(`${(match[1] ?? "").toUpperCase()} ${match[2]}`);
  }
  assert.deepEqual([...written].sort(), [...served].sort());
});

test("error codes, settings and metrics that the documents name exist", async () => {
  const known = new Set<string>([...Object.keys(errorTable), ...Object.keys(settingsTable), ...Object.values(metricsTable).map(({ name }) => name)]);
  const others = new Set(["REDIS_PASSWORD", "GRAFANA_PASSWORD", "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "EVERLORA_DATA", "ONNXRUNTIME_NODE_INSTALL", "VK_ICD_FILENAMES"]);
  const faults: string[] = [];
  for (const document of documents) {
    const text = await read(document);
    for (const [word] of text.matchAll(/\beverlora_[a-z_]+\b|\b[A-Z]{2,}(?:_[A-Z]+)+\b/g)) if (!known.has(word) && !others.has(word)) faults.push(`${document}: ${word}`);
    for (const [, code] of text.matchAll(/^\| \d{3} `(\w+)`/gm)) if (code === undefined || !known.has(code)) faults.push(`${document}: ${code}`);
  }
  assert.deepEqual(faults, []);
});

test("links lead to files", async () => {
  for (const document of documents) {
    const links = [...(await read(document)).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? "").filter((link) => !link.startsWith("http"));
    for (const link of links) assert.ok(existsSync(resolve(projectRoot, dirname(document), link)), `${document}: ${link}`);
  }
});

test("README's tree names every folder of the house, and only what is there", async () => {
  const tree = /## The house\n+```\n([^]*?)```/.exec(await read("README.md"))?.[1] ?? "";
  const named = new Set<string>();
  let parent = "";
  for (const line of tree.split("\n").filter((each) => each.trim() !== "")) {
    // Names, then at least two spaces and what is there. An indented line is within the last one that is not.
    const [, indent = "", names = ""] = /^( *)((?:\S+ )*\S+)(?:  |$)/.exec(line) ?? [];
    for (const name of names.split(" ")) named.add((indent === "" ? name : `${parent}${name}`).replace(/\/$/, ""));
    if (indent === "") parent = names;
  }
  for (const path of named) assert.ok(existsSync(join(projectRoot, path)), `README names ${path}`);
  const folders = ["cli", "services", "shared"].flatMap((parent) => readdirSync(join(projectRoot, parent), { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [`${parent}/${entry.name}`] : [])));
  assert.deepEqual(
    folders.filter((folder) => !named.has(folder)),
    [],
    "README's tree leaves these out",
  );
});

test("the licence is whole", async () => {
  const text = await read("LICENSE");
  assert.match(text, /Apache License\s+Version 2\.0, January 2004[^]*END OF TERMS AND CONDITIONS[^]*APPENDIX/);
});
