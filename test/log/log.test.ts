import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

test("a process whose log nobody reads any more ends as it would have", { timeout: 60_000 }, async (context) => {
  const script = fileURLToPath(new URL("../support/reader_gone.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script], { stdio: ["pipe", "pipe", "ignore"] });
  context.after(() => child.kill("SIGKILL"));
  const ended = once(child, "exit");
  await once(child.stdout, "data");
  child.stdout.destroy();
  child.stdin.end();
  assert.deepEqual(await ended, [7, null]);
});
