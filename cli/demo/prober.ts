/** Measures how long a published adapter takes until it answers: watches the pointer file of a domain, then asks the gateway until the new one replies. */
import { readLive } from "../../shared/peft/registry.ts";
import type { DemoClient } from "./client.ts";

export interface FirstAnswer {
  readonly domain: string;
  readonly generation: string;
  /** When the pointer was written, milliseconds since 1970. */
  readonly publishedAt: number;
  /** From then to the end of the first answer that the new generation gave. */
  readonly milliseconds: number;
}

/** Between two looks. Small against what is measured, and nothing next to a training step. */
const lookMs = 5;

/** Resolves with the first adapter of the domain that goes live. @throws when the signal fires */
export async function firstAnswer(domain: string, loras: string, client: DemoClient, signal: AbortSignal): Promise<FirstAnswer> {
  for (;;) {
    const live = await readLive(loras, domain);
    if (live?.generation != null) {
      const { generation, since } = live;
      while ((await client.whoAnswers(domain)) !== generation) await pause(signal);
      return { domain, generation, publishedAt: since, milliseconds: Date.now() - since };
    }
    await pause(signal);
  }
}

async function pause(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise((resolve) => setTimeout(resolve, lookMs));
}
