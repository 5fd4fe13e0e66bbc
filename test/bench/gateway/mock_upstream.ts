/** A program: an OpenAI-compatible server that answers at once with the same words. Prints its address. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

const answer = JSON.stringify({
  id: "chatcmpl-mock",
  object: "chat.completion",
  created: 1_700_000_000,
  model: "mock",
  choices: [{ index: 0, message: { role: "assistant", content: "Please bring the form and the parcel to any of our offices; the return is free of charge within a fortnight.", refusal: null }, logprobs: null, finish_reason: "stop" }],
  usage: { prompt_tokens: 48, completion_tokens: 22, total_tokens: 70 },
});
const headers = { "content-type": "application/json", "content-length": String(Buffer.byteLength(answer)) };
const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
  request.resume().once("end", () => {
    response.writeHead(200, headers);
    response.end(answer);
  });
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, () => process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1\n`));
process.once("disconnect", () => process.exit(0));
