/**
 * An engine child that speaks the protocol and computes nothing: forked in place of services/gateway/engine/child.ts. It answers
 * "<generation or base> says <the last user message>", a token a word, writes what it was told to DATA_DIR/fake-engine.log, and does what a
 * message that begins with "!" asks: !hold FILE (one token, the rest once FILE exists), !wait FILE (nothing until FILE exists), !die-once FILE,
 * !die-always, !die-streaming, !fatal-once FILE, !long, !empty, !words N, !fields (the request as JSON, without its messages). A response format is
 * kept to by {"said": …}, and refused when its schema asks for "format". BASE_MODEL=broken can't start; BASE_MODEL=slow starts once DATA_DIR/start exists;
 * while DATA_DIR/no-start exists it dies at once.
 */
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { loadSettings } from "../../shared/config/settings.ts";
import { sha256, textOf } from "../../shared/events/conversation.ts";
import { weightsFile } from "../../shared/peft/manifest.ts";
import { toChildSchema, type FromChild, type ToChild } from "../../services/gateway/engine/protocol.ts";

const settings = loadSettings();
if (existsSync(join(settings.DATA_DIR, "no-start"))) process.exit(3);
const loaded = new Set<string>();
const aborted = new Set<string>();

if (!process.connected) process.exit(0); // the gateway went while our modules were loading
const send = (message: FromChild) => void (process.connected && process.send?.(message));
const note = (line: string) => appendFileSync(join(settings.DATA_DIR, "fake-engine.log"), `${line}\n`);
const die = () => process.kill(process.pid, "SIGKILL");
const fileExists = async (path: string, id: string) => {
  while (!existsSync(path) && !aborted.has(id)) await sleep(5);
};

type Job = Extract<ToChild, { type: "generate" }>;

function wordsOf(job: Job, text: string): string[] {
  const [command, argument] = text.split(" ");
  if (command === "!fields") return [JSON.stringify({ ...job, messages: undefined, id: undefined })];
  if (job.responseFormat !== null && job.responseFormat !== undefined) return [JSON.stringify({ said: text })];
  if (command === "!empty") return [];
  if (command === "!words") return Array.from({ length: Number(argument) }, (_, at) => `w${at}`);
  return `${job.generation ?? "base"} says ${text}`.split(" ");
}

async function generate(job: Job): Promise<void> {
  const { id, generation, maxTokens } = job;
  note(`generate ${generation ?? "base"}`);
  if (generation !== null && !loaded.has(generation)) return send({ type: "failed", id, error: { code: "adapter_not_found", message: `${generation} is not loaded` } });
  const messages = job.messages ?? [{ role: "user" as const, content: job.prompt ?? "" }];
  const text = textOf(messages.at(-1) ?? { role: "user" });
  const promptTokens = messages.map(textOf).join(" ").split(" ").length;
  const [command, argument = ""] = text.split(" ");
  if (command === "!die-always") die();
  if (command === "!die-once" && !existsSync(argument)) {
    writeFileSync(argument, "");
    die();
  }
  if (command === "!fatal-once" && !existsSync(argument)) {
    writeFileSync(argument, "");
    return send({ type: "fatal", error: { code: "engine_failed", message: "nothing works any more", hint: "Start it again." } });
  }
  if (command === "!long") return send({ type: "failed", id, error: { code: "context_length_exceeded", message: "The prompt has 5000 tokens; the context holds 64." } });
  if (command === "!wait") await fileExists(argument, id);
  if (JSON.stringify(job.responseFormat ?? null).includes('"format"')) {
    return send({ type: "failed", id, error: { code: "invalid_request", message: "response_format: the schema's keyword format is not supported." } });
  }
  const words = wordsOf(job, text);
  let sent = 0;
  for (const [at, word] of words.entries()) {
    if (aborted.has(id) || sent === maxTokens || job.stop.some((stop) => word.includes(stop))) break;
    const token = at === 0 ? word : ` ${word}`;
    const alternative = { token, logprob: -0.5, bytes: [...Buffer.from(token)] };
    const logprobs = typeof job.logprobs !== "number" ? {} : { logprobs: [{ ...alternative, top_logprobs: Array.from({ length: job.logprobs }, (_, rank) => ({ ...alternative, logprob: -0.5 - rank })) }] };
    send({ type: "token", id, text: token, ...logprobs });
    sent++;
    await turn();
    if (command === "!die-streaming") die();
    if (command === "!hold" && sent === 1) await fileExists(argument, id);
  }
  const finishReason = aborted.has(id) ? "abort" : sent === maxTokens && sent < words.length ? "length" : "stop";
  if (finishReason === "abort") note("aborted");
  send({ type: "done", id, finishReason, promptTokens, completionTokens: sent, cachedTokens: 0 });
}

/** "Sentence embeddings" for which a sofa is a couch: words counted into 16 numbers. */
function meaningOf(text: string): number[] {
  const vector = new Array<number>(16).fill(0.01);
  for (const word of text.toLowerCase().replaceAll("sofa", "couch").match(/[a-z]+/g) ?? []) {
    const slot = parseInt(sha256(word).slice(0, 1), 16);
    vector[slot] = (vector[slot] ?? 0) + 1;
  }
  return vector;
}

process.on("message", (raw) => {
  const message = toChildSchema.parse(raw);
  switch (message.type) {
    case "load":
      note(`load ${message.generation}`);
      if (!existsSync(join(message.folder, weightsFile))) return send({ type: "failed", id: message.id, error: { code: "adapter_corrupted", message: `${message.folder} has no weights` } });
      loaded.add(message.generation);
      return send({ type: "loaded", id: message.id, milliseconds: 1, bytes: 1000 });
    case "unload":
      note(`unload ${message.generation}`);
      loaded.delete(message.generation);
      return send({ type: "unloaded", id: message.id });
    case "generate":
      return void generate(message);
    case "score":
      return send({ type: "scored", id: message.id, loss: message.generation === null ? 2.5 : 1.5, tokens: textOf(message.messages.at(-1) ?? { role: "user" }).split(" ").length });
    case "embed":
      if (settings.EMBEDDING_MODEL === undefined) return send({ type: "failed", id: message.id, error: { code: "engine_failed", message: "No embedding model is set." } });
      return send({ type: "embedded", id: message.id, vectors: message.texts.map(meaningOf), dimension: 16, tokens: message.texts.length });
    case "abort":
      return void aborted.add(message.id);
  }
});
process.on("disconnect", () => process.exit(0));

const name = basename(settings.BASE_MODEL);
if (name === "broken") {
  send({ type: "fatal", error: { code: "invalid_model_folder", message: "broken/config.json is missing.", hint: "Put it there." } });
  process.exitCode = 1;
  process.disconnect?.();
} else {
  note("start");
  if (name === "slow") await fileExists(join(settings.DATA_DIR, "start"), "");
  send({ type: "ready", device: "cpu", reason: "nothing is computed", model: { name, sha256: sha256(`fake ${name}`), contextLength: 64, parameters: 0 } });
}
