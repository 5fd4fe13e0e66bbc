/** The demo as a client of the running services: what anybody with the key could ask over HTTP. Replies are parsed; only what is shown is read. */
import { z } from "zod";
import { EverloraError } from "../../shared/errors/errors.ts";
import type { Message } from "../../shared/events/conversation.ts";
import { runStateSchema } from "../../shared/runs/run.ts";

const collectorSchema = z.object({
  domains: z.array(z.object({ domain: z.string(), found: z.int(), rows: z.object({ total: z.int(), inWindow: z.int() }), needed: z.int(), dropped: z.record(z.string(), z.int()) })),
  scanner: z.object({ scanning: z.boolean(), lastScan: z.object({ entries: z.int(), faulty: z.int() }).nullable() }),
});
export type CollectorView = z.infer<typeof collectorSchema>;

const controlSchema = z.object({
  domains: z.array(
    z.object({
      domain: z.string(),
      live: z.object({ generation: z.string().nullable() }).nullable(),
      lastRun: z.object({ id: z.string(), state: runStateSchema, progress: z.object({ step: z.int(), steps: z.int(), loss: z.number().nullable() }).nullable(), error: z.object({ message: z.string() }).nullable() }).nullable(),
      job: z.object({ state: z.string() }).nullable(),
    }),
  ),
});
export type ControlView = z.infer<typeof controlSchema>;

const comparedSchema = z.object({ answer: z.string(), finish_reason: z.string(), tokens: z.object({ prompt: z.int(), completion: z.int() }), latency_ms: z.number(), loss: z.number().nullable(), reference_tokens: z.int().nullable() });
const comparisonSchema = z.object({ domain: z.string(), generation: z.string(), model: z.string(), base: comparedSchema, adapter: comparedSchema });
export type ComparisonReply = z.infer<typeof comparisonSchema>;

const errorSchema = z.object({ error: z.object({ message: z.string(), hint: z.string().optional() }) });

export interface ServiceUrls {
  readonly gateway: string;
  readonly collector: string;
  readonly control: string;
}

export class DemoClient {
  readonly #urls: ServiceUrls;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #signal: AbortSignal;

  /** @param signal ends every request, and with it whoever waits for one */
  constructor(urls: ServiceUrls, apiKey: string, signal: AbortSignal) {
    this.#urls = urls;
    this.#headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
    this.#signal = signal;
  }

  async collector(): Promise<CollectorView> {
    return collectorSchema.parse(await this.#json(`${this.#urls.collector}/status`));
  }

  async control(): Promise<ControlView> {
    return controlSchema.parse(await this.#json(`${this.#urls.control}/fine-tune/status`));
  }

  /** @param reference a good answer, on which the loss of both is measured */
  async compare(domain: string, messages: readonly Message[], reference: string, maxTokens: number): Promise<ComparisonReply> {
    return comparisonSchema.parse(await this.#json(`${this.#urls.gateway}/ab/compare`, { domain, messages, reference, max_tokens: maxTokens }));
  }

  /** Asks for one token, past the cache and unrecorded. @returns the generation that answered; null for the base */
  async whoAnswers(domain: string): Promise<string | null> {
    const response = await this.#fetch(`${this.#urls.gateway}/v1/chat/completions`, { model: domain, max_tokens: 1, messages: [{ role: "user", content: "Hello?" }] }, { "cache-control": "no-store" });
    await response.arrayBuffer();
    return response.headers.get("x-everlora-generation");
  }

  async #json(url: string, body?: unknown): Promise<unknown> {
    return (await this.#fetch(url, body)).json();
  }

  async #fetch(url: string, body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    const response = await fetch(url, { signal: this.#signal, headers: { ...this.#headers, ...headers }, ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }) });
    if (response.ok) return response;
    const said = errorSchema.safeParse(await response.json().catch(() => undefined));
    throw new EverloraError("service_failed", `${url} answered ${response.status}: ${said.success ? said.data.error.message : "no words"}`);
  }
}
