/** What a run ran on: versions and machine, for its record. Not what it ran with: those are its settings. */
import { readFile } from "node:fs/promises";
import { arch, availableParallelism, cpus, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { projectRoot } from "../../shared/config/settings.ts";
import type { Environment } from "../../shared/runs/run.ts";

/** Device and runtime are the trainer's to tell, later. */
export async function environmentFingerprint(): Promise<Environment> {
  return {
    node: process.version,
    platform: `${platform()} ${release()} ${arch()}`,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    everlora: await packageVersion(),
    commit: await gitCommit(projectRoot),
    device: null,
    onnxruntime: null,
  };
}

async function packageVersion(): Promise<string> {
  const text = await readFile(join(projectRoot, "package.json"), "utf8");
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

/** The commit that HEAD names, read from the files, so that no git is needed; null where there is no repository. */
export async function gitCommit(root: string): Promise<string | null> {
  const git = join(root, ".git");
  const head = await textOf(join(git, "HEAD"));
  const branch = /^ref: (refs\/\S+)$/.exec(head)?.[1];
  if (branch === undefined) return commitIn(head);
  const loose = commitIn(await textOf(join(git, branch)));
  if (loose !== null) return loose;
  const packed = await textOf(join(git, "packed-refs"));
  return commitIn(packed.split("\n").find((line) => line.endsWith(` ${branch}`)) ?? "");
}

const commitIn = (text: string) => /^[0-9a-f]{40,64}\b/.exec(text)?.[0] ?? null;

async function textOf(path: string): Promise<string> {
  return (await readFile(path, "utf8").catch(() => "")).trim();
}
