/** A stand-in for an OpenAI-compatible server: keeps what it was asked and answers as the test says. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: Record<string, unknown>;
  /** Resolves when the gateway ended the connection before the answer was whole. */
  readonly left: Promise<void>;
}

export type Reply = (asked: Asked, response: ServerResponse) => Promise<void> | void;

export interface TestUpstream {
  readonly url: string;
  readonly asked: Asked[];
  reply: Reply;
  stop(): Promise<void>;
}

/** The usual answer: "upstream says <the last message>", in the form that was asked for. */
export const usual: Reply = ({ body }, response) => {
  const text = `upstream says ${String((body["messages"] as { content: unknown }[]).at(-1)?.content)}`;
  const head = { id: "chatcmpl-theirs", created: 1_700_000_000, model: "teacher-2026" };
  const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 };
  if (body["stream"] !== true) {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ ...head, object: "chat.completion", choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }], usage, service_tier: "default" }));
    return;
  }
  const chunk = (delta: object, finish: string | null = null) => ({ ...head, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason: finish }] });
  const wantsUsage = (body["stream_options"] as { include_usage?: boolean } | undefined)?.include_usage === true;
  events(response, [chunk({ role: "assistant", content: "" }), ...text.split(/(?= )/).map((content) => chunk({ content })), chunk({}, "stop"), ...(wantsUsage ? [{ ...head, object: "chat.completion.chunk", choices: [], usage }] : [])]);
  response.end("data: [DONE]\n\n");
};

export function events(response: ServerResponse, payloads: readonly unknown[]): void {
  if (!response.headersSent) response.setHeader("content-type", "text/event-stream");
  for (const payload of payloads) response.write(`data: ${JSON.stringify(payload)}\n\n`);
}

export async function startUpstream(): Promise<TestUpstream> {
  const asked: Asked[] = [];
  const upstream = { asked, reply: usual };
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    let text = "";
    for await (const piece of request.setEncoding("utf8")) text += String(piece);
    const left = new Promise<void>((resolve) => response.once("close", () => (response.writableFinished ? undefined : resolve())));
    const one: Asked = { path: request.url ?? "", authorization: request.headers.authorization, body: JSON.parse(text) as Record<string, unknown>, left };
    asked.push(one);
    await upstream.reply(one, response);
  };
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : new Error(String(error))));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return Object.assign(upstream, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
}
