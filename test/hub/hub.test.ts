/** Fetching models from a Hub: a stand-in that speaks the Hub's routes (revision, tree, resolve with ranges) serves a folder, honestly or not. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { access, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { openModelFolder } from "../../shared/models/folder.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { downloadModel, type HubOptions } from "../../shared/hub/download.ts";
import { parseModelId, type ModelId } from "../../shared/hub/model_id.ts";
import { until } from "../support/wait.ts";
import { everlora } from "../support/command_line.ts";
import { writeToyModel } from "../support/toy_model.ts";

const commit = "0123456789abcdef0123456789abcdef01234567";
const id: ModelId = { repository: "someone/toy", revision: "main" };
const files = new Map<string, Buffer>();
let root: string;
let data: string;
let server: Server;
let url: string;
let requests: string[] = [];
/** What the stand-in does wrong, by file. */
let faults: { cutAfter?: number; garbled?: string; private?: boolean; ignoreRanges?: boolean } = {};

before(async () => {
  root = await mkdtemp(join(tmpdir(), "everlora-hub-"));
  const folder = await writeToyModel(join(root, "toy"));
  for (const name of await readdir(folder)) files.set(name, await readFile(join(folder, name)));
  files.set("README.md", Buffer.from("not needed"));
  files.set("pytorch_model.bin", Buffer.from("not needed either"));
  server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
beforeEach(async () => {
  data = await mkdtemp(join(root, "data-"));
  [requests, faults] = [[], {}];
});
after(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(root, { recursive: true });
});

/** The three routes that the client library uses. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url ?? "", "http://x");
  const range = request.headers.range;
  requests.push(`${pathname.replace(/^\/(?:api\/models\/)?someone\/toy/, "")}${range === undefined ? "" : ` ${range}`}`);
  const json = (status: number, body: unknown) => void response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (faults.private === true && request.headers.authorization !== "Bearer hf_secret") return json(401, { error: "Invalid credentials" });
  if (!/^\/(?:api\/models\/)?someone\/toy\//.test(pathname)) return json(404, { error: "Repository not found" });
  if (pathname.includes("/revision/")) return json(200, { _id: "1", id: "someone/toy", sha: commit, private: false, downloads: 0, likes: 0, lastModified: "2026-01-01T00:00:00.000Z" });
  if (pathname.includes("/tree/")) return json(200, [...files].map(([path, content]) => ({ type: "file", path, size: content.length, oid: gitBlob(content), ...(path.endsWith(".safetensors") ? { lfs: { oid: createHash("sha256").update(content).digest("hex"), size: content.length, pointerSize: 130 } } : {}) })));
  const name = decodeURIComponent(pathname.split(`/resolve/${commit}/`)[1] ?? "");
  const content = files.get(name);
  if (content === undefined) return json(404, { error: "Entry not found" });
  const [from = 0, end = content.length - 1] = (/^bytes=(\d+)-(\d*)$/.exec(faults.ignoreRanges === true && range !== "bytes=0-0" ? "" : (range ?? ""))?.slice(1) ?? []).map((part, at) => (part === "" ? content.length - 1 : Number(part)) + at * 0);
  const partial = range !== undefined && !(faults.ignoreRanges === true && range !== "bytes=0-0");
  let body = content.subarray(from, end + 1);
  if (faults.garbled === name) body = Buffer.alloc(body.length, 7);
  response.writeHead(partial ? 206 : 200, { etag: `"${gitBlob(content)}"`, "content-length": body.length, ...(partial ? { "content-range": `bytes ${from}-${end}/${content.length}` } : {}) });
  if (faults.cutAfter !== undefined && name === "model.safetensors" && body.length > 1) {
    const { cutAfter } = faults;
    faults = {};
    response.write(body.subarray(0, cutAfter));
    // A stream that fails forgets what nobody had taken yet: so not before it is in the file.
    const part = join(data, "models", "someone--toy", commit, "model.safetensors.part");
    void until("the part is written", async () => (await stat(part).catch(() => null))?.size === cutAfter).then(() => response.destroy());
    return;
  }
  response.end(body);
}

const gitBlob = (content: Buffer) => createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
const options = (change: Partial<HubOptions> = {}): HubOptions => ({ models: join(data, "models"), url, offline: false, ...change });
const failed = (words: RegExp) => (error: unknown) => error instanceof EverloraError && error.code === "model_download_failed" && words.test(`${error.message} ${error.hint}`);

test("a model is fetched once, is the model, and what a model doesn't need stays there", async () => {
  const seen: [number, number][] = [];
  const folder = await downloadModel(id, options({ onProgress: (done, total) => seen.push([done, total]) }));
  assert.deepEqual((await openModelFolder(folder)).parameters > 0, true);
  await assert.rejects(access(join(folder, "pytorch_model.bin")));
  const total = seen.at(-1)?.[1] ?? 0;
  assert.equal(seen.at(-1)?.[0], total);
  assert.ok(seen.every(([done], at) => done >= (seen[at - 1]?.[0] ?? 0)), "progress only grows");
  requests = [];
  assert.equal(await downloadModel(id, options()), folder);
  assert.deepEqual(requests, ["/revision/main"]);
  assert.equal(pathsOf({ DATA_DIR: data, BASE_MODEL: "someone/toy" }).baseModel, folder);
});

test("a download that breaks off goes on where it ended", async () => {
  const size = files.get("model.safetensors")?.length ?? 0;
  faults = { cutAfter: 5_000 };
  await assert.rejects(downloadModel(id, options()), failed(/goes on from there|terminated/));
  requests = [];
  const folder = await downloadModel(id, options());
  assert.ok(requests.includes(`/resolve/${commit}/model.safetensors bytes=5000-`), requests.join("\n"));
  assert.equal((await readFile(join(folder, "model.safetensors"))).length, size);
});

test("a server that ignores ranges sends all of it again", async () => {
  faults = { cutAfter: 5_000 };
  await assert.rejects(downloadModel(id, options()));
  faults = { ignoreRanges: true };
  const folder = await downloadModel(id, options());
  assert.deepEqual(await readFile(join(folder, "model.safetensors")), files.get("model.safetensors"));
});

test("a part that is not this file's beginning is found out and fetched anew", async () => {
  faults = { cutAfter: 5_000 };
  await assert.rejects(downloadModel(id, options()));
  const part = join(data, "models", "someone--toy", commit, "model.safetensors.part");
  await writeFile(part, Buffer.alloc(5_000, 1));
  const folder = await downloadModel(id, options());
  assert.deepEqual(await readFile(join(folder, "model.safetensors")), files.get("model.safetensors"));
});

test("what does not have its checksum is refused, small or large", async () => {
  for (const garbled of ["config.json", "model.safetensors"]) {
    faults = { garbled };
    await assert.rejects(downloadModel(id, options()), failed(new RegExp(`${garbled} does not have the checksum`)));
  }
});

test("offline: what is here is used, what is not is said", async () => {
  await assert.rejects(downloadModel(id, options({ offline: true })), failed(/HUB_OFFLINE/));
  assert.deepEqual(requests, []);
  const folder = await downloadModel(id, options());
  requests = [];
  assert.equal(await downloadModel(id, options({ offline: true })), folder);
  assert.deepEqual(requests, []);
  assert.equal(await downloadModel(id, options({ url: "http://127.0.0.1:9" })), folder, "a Hub that cannot be reached is no reason not to start");
});

test("private and missing models: the hint says what to do, and the token goes to the Hub", async () => {
  faults = { private: true };
  await assert.rejects(downloadModel(id, options()), failed(/HUB_TOKEN/));
  assert.ok(await downloadModel(id, options({ token: "hf_secret" })));
  faults = {};
  await assert.rejects(downloadModel({ repository: "someone/else", revision: "main" }, options()), failed(/spelling/));
});

test("what is a model id", () => {
  assert.deepEqual(parseModelId("a/b@v1.0"), { repository: "a/b", revision: "v1.0" });
  for (const text of ["everlora-tiny", "/tmp/x", "./a/b", "../a", "a/../b", "a/b/c", "a/b@", "a/b@../x", ""]) assert.equal(parseModelId(text), null, text);
});

test("everlora pull says where the model is, and exits 1 with the reason when it can't be had", async () => {
  const good = everlora(["pull", "someone/toy", "--json"], { DATA_DIR: data, HUB_URL: url });
  assert.equal(await good.ended, 0, good.stderr());
  assert.match(good.stdout(), new RegExp(commit));
  const bad = everlora(["pull", "someone/else"], { DATA_DIR: data, HUB_URL: url });
  assert.equal(await bad.ended, 1);
  assert.match(bad.stderr(), /someone\/else cannot be fetched[^]*spelling/);
});
