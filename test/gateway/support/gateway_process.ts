/** A gateway as a process of its own, so that it can be killed and that nothing but Redis is shared with another. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { readyMessageSchema } from "../../../shared/config/lifecycle.ts";
import { projectRoot } from "../../../shared/config/settings.ts";
import { apiKey, newDataDir } from "./gateway.ts";

export interface GatewayProcess {
  readonly url: string;
  ask(body: object, headers?: Record<string, string>): Promise<Response>;
  end(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
}

export async function forkGateway(environment: Record<string, string>): Promise<GatewayProcess> {
  const data = await newDataDir();
  const entry = fileURLToPath(new URL("./gateway_main.ts", import.meta.url));
  const child = fork(entry, [], { cwd: projectRoot, execArgv: ["--import", "tsx"], env: { PATH: process.env["PATH"], DATA_DIR: data.path, BASE_MODEL: "tiny-fake", EVERLORA_API_KEY: apiKey, GATEWAY_PORT: "0", LOG_LEVEL: "silent", CACHE_BUDGET: "5000", CACHE_LAG: "60000", ...environment } });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const reap = () => child.kill("SIGKILL");
  process.once("exit", reap);
  const { url } = await Promise.race([
    new Promise<{ url: string }>((resolve) => child.once("message", (message) => resolve(readyMessageSchema.parse(message)))),
    ended.then((): never => {
      throw new Error("the gateway ended before it was ready");
    }),
  ]);
  return {
    url,
    ask: (body, headers = {}) => fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json", ...headers }, body: JSON.stringify(body) }),
    end: async (signal) => {
      child.kill(signal);
      await ended;
      process.removeListener("exit", reap);
      await data.remove();
    },
  };
}
