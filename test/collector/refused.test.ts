/** What a running collector refuses is told with its own hint. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { postTo } from "../../services/collector/command/target.ts";
import { EverloraError } from "../../shared/errors/errors.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { temporaryFolder } from "../support/folder.ts";

test("a refusal of the running collector keeps its message and its hint", async (context) => {
  const refusal = new EverloraError("unprocessable", "Nothing says which rows to forget.", { hint: "Name a caller." });
  const server = createServer((_request, response) => response.writeHead(refusal.status).end(JSON.stringify(refusal))).listen(0, "127.0.0.1");
  context.after(() => server.close());
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const post = postTo(url, loadSettings({ DATA_DIR: await temporaryFolder(context, "refused") }));
  await assert.rejects(post("/forget", {}), (error: unknown) => {
    assert.ok(error instanceof EverloraError);
    assert.deepEqual([error.code, error.message, error.hint], ["service_failed", `The collector at ${url} refused: Nothing says which rows to forget.`, "Name a caller."]);
    return true;
  });
});
