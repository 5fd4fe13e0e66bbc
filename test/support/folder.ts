/** A folder for one test, gone after it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** @param name stands in the folder's name, so that what a test left behind says whose it is; may hold blanks and quotes to try them */
export async function temporaryFolder(context: Pick<TestContext, "after">, name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `everlora-${name}-`));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
