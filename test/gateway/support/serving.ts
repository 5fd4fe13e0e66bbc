/**
 * Stand-ins for a vLLM and a LoRAX server that speak the documented protocols: vLLM's /v1/models with `parent`, /v1/load_lora_adapter and
 * /v1/unload_lora_adapter (text on success, {"error": …} otherwise), models chosen by name; LoRAX's /info, /generate, and adapters by path in `model`.
 * They answer "<adapter or base> serves <the last message>", and forget their adapters when they are "restarted".
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface TestServing {
  readonly url: string;
  /** By name, the path that it was loaded from; of LoRAX the paths, by themselves. */
  readonly adapters: Map<string, string>;
  readonly calls: string[];
  restart(): void;
  stop(): Promise<void>;
}

type Body = Record<string, unknown>;
type Route = (body: Body, response: ServerResponse) => void;

const json = (response: ServerResponse, status: number, body: unknown) => {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
};
const failure = (response: ServerResponse, status: number, type: string, message: string) => json(response, status, { error: { message, type, param: null, code: status } });

function answer(response: ServerResponse, body: Body, who: string): void {
  const said = String((body["messages"] as { content: string }[] | undefined)?.at(-1)?.content ?? body["prompt"]);
  const words = `${who} serves ${said}`;
  const head = { id: "chatcmpl-theirs", created: 1, model: body["model"] };
  const usage = { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 };
  if ("prompt" in body) return json(response, 200, { ...head, object: "text_completion", choices: [{ index: 0, text: words, finish_reason: "stop", logprobs: null }], usage });
  if (body["stream"] !== true) return json(response, 200, { ...head, object: "chat.completion", choices: [{ index: 0, message: { role: "assistant", content: words }, finish_reason: "stop" }], usage });
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const [at, word] of words.split(/(?= )/).entries()) response.write(`data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", choices: [{ index: 0, delta: at === 0 ? { role: "assistant", content: word } : { content: word }, finish_reason: null }] })}\n\n`);
  response.write(`data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })}\n\n`);
  response.end("data: [DONE]\n\n");
}

async function start(routes: (adapters: Map<string, string>) => Readonly<Record<string, Route>>): Promise<TestServing> {
  const adapters = new Map<string, string>();
  const calls: string[] = [];
  const table = routes(adapters);
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    let text = "";
    for await (const piece of request.setEncoding("utf8")) text += String(piece);
    const name = `${request.method} ${request.url}`;
    calls.push(name);
    const route = table[name];
    if (request.headers.authorization !== "Bearer serving-key") failure(response, 401, "Unauthorized", "no key");
    else if (route === undefined) failure(response, 404, "NotFoundError", `no route ${name}`);
    else route(text === "" ? {} : (JSON.parse(text) as Body), response);
  };
  const server = createServer((request, response) => void handle(request, response).catch(() => response.destroy()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    adapters,
    calls,
    restart: () => adapters.clear(),
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export const startVllm = () =>
  start((adapters) => {
    const generate: Route = (body, response) => {
      const model = String(body["model"]);
      if (model !== "org/base" && !adapters.has(model)) return failure(response, 404, "NotFoundError", `The model \`${model}\` does not exist.`);
      answer(response, body, model);
    };
    return {
      "GET /v1/models": (_body, response) => json(response, 200, { object: "list", data: [{ id: "org/base", object: "model", created: 1, owned_by: "vllm", root: "org/base", parent: null, max_model_len: 2048 }, ...[...adapters].map(([id, root]) => ({ id, object: "model", created: 1, owned_by: "vllm", root, parent: "org/base" }))] }),
      "POST /v1/load_lora_adapter": (body, response) => {
        const { lora_name: name, lora_path: path } = body as { lora_name?: string; lora_path?: string };
        if (name === undefined || path === undefined) return failure(response, 400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.");
        if (adapters.has(name)) return failure(response, 400, "InvalidUserInput", `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`);
        adapters.set(name, path);
        response.writeHead(200, { "content-type": "text/plain" });
        response.end(`Success: LoRA adapter '${name}' added successfully.`);
      },
      "POST /v1/unload_lora_adapter": (body, response) => {
        const name = String(body["lora_name"]);
        if (!adapters.delete(name)) return failure(response, 404, "NotFoundError", `The lora adapter '${name}' cannot be found.`);
        response.writeHead(200, { "content-type": "text/plain" });
        response.end(`Success: LoRA adapter '${name}' removed successfully.`);
      },
      "POST /v1/chat/completions": generate,
      "POST /v1/completions": generate,
    };
  });

export const startLorax = () =>
  start((adapters) => ({
    "GET /info": (_body, response) => json(response, 200, { model_id: "org/base", model_dtype: "torch.float16", max_total_tokens: 1024 }),
    "POST /generate": (body, response) => {
      const { adapter_id: id, adapter_source: source } = (body["parameters"] ?? {}) as { adapter_id?: string; adapter_source?: string };
      if (id === undefined || source !== "local") return failure(response, 422, "validation", "adapter_id and adapter_source are needed");
      adapters.set(id, id);
      json(response, 200, { generated_text: "!" });
    },
    "POST /v1/chat/completions": (body, response) => {
      const model = String(body["model"]);
      if (model !== "" && body["adapter_source"] !== "local") return failure(response, 422, "validation", `no adapter ${model} in the hub`);
      if (model !== "") adapters.set(model, model);
      answer(response, body, model === "" ? "org/base" : model);
    },
  }));
