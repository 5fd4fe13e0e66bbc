/** LiteLLM's proxy as a peer: one worker in front of the same mock. */
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../../support/redis.ts";

/** @param program path of the `litellm` program, of a Python environment with `litellm[proxy]` */
export async function startLiteLlm(program: string, upstream: string, key: string, folder: string): Promise<{ url: string; version: string; stop(): Promise<void> }> {
  const config = join(folder, "litellm.yaml");
  await writeFile(config, `model_list:\n  - model_name: mock\n    litellm_params: {model: openai/mock, api_base: "${upstream}", api_key: none}\ngeneral_settings: {master_key: "${key}"}\nlitellm_settings: {drop_params: true}\n`);
  const port = await freePort();
  const child = spawn(program, ["--config", config, "--host", "127.0.0.1", "--port", String(port), "--num_workers", "1"], { stdio: ["ignore", "ignore", "ignore"], env: { ...process.env, LITELLM_LOCAL_MODEL_COST_MAP: "True", LITELLM_TELEMETRY: "False" } });
  const reap = () => void child.kill("SIGKILL");
  process.once("exit", reap);
  const url = `http://127.0.0.1:${port}`;
  for (let attempt = 0; ; attempt++) {
    if (await fetch(`${url}/health/liveliness`).then(({ ok }) => ok, () => false)) break;
    if (attempt > 240 || child.exitCode !== null) throw new Error(`LiteLLM did not start (${program})`);
    await sleep(500);
  }
  return {
    url,
    version: await versionOf(program),
    stop: () =>
      new Promise((resolve) => {
        process.off("exit", reap);
        child.once("exit", () => resolve());
        child.kill("SIGKILL");
      }),
  };
}

async function versionOf(program: string): Promise<string> {
  const child = spawn(program, ["--version"], { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  for await (const piece of child.stdout.setEncoding("utf8")) text += String(piece);
  return /\d+\.\d+\.\d+\S*/.exec(text)?.[0] ?? "unknown";
}
