/** Questions to a running gateway, as any client asks them. */
export interface Gateway {
  readonly url: string;
  readonly key: string;
}

export interface Answer {
  /** Of the adapter; null = the base. */
  readonly generation: string | null;
  readonly cache: string | null;
  readonly text: string;
  readonly milliseconds: number;
}

/** @throws Error when the gateway answers with another status than 200 */
export async function askAuto({ url, key }: Gateway, content: string, tokens: number): Promise<Answer> {
  const started = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: JSON.stringify({ model: "auto", max_tokens: tokens, messages: [{ role: "user", content }] }) });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`the gateway answered ${response.status}: ${text}`);
  const body = JSON.parse(text) as { choices: { message: { content: string } }[] };
  return { generation: response.headers.get("x-everlora-generation"), cache: response.headers.get("x-everlora-cache"), text: body.choices[0]?.message.content ?? "", milliseconds: Math.round(performance.now() - started) };
}

export interface Served {
  readonly tokens: number;
  readonly seconds: number;
  readonly tokensPerSecond: number;
  /** Who answered, how often. */
  readonly generations: Readonly<Record<string, number>>;
}

/** Several answers at once, each a stream to its end. The rate is of the tokens that the gateway counted. */
export async function streamsOf({ url, key }: Gateway, streams: number, tokens: number): Promise<Served> {
  const started = performance.now();
  const generations: Record<string, number> = {};
  const counts = await Promise.all(
    Array.from({ length: streams }, async (_, at) => {
      const request = { model: "auto", stream: true, stream_options: { include_usage: true }, max_tokens: tokens, temperature: 1, seed: at, user: `caller-${at}`, messages: [{ role: "user", content: `My order ${1_000 + at} has not arrived and the refund is missing, what now?` }] };
      const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body: JSON.stringify(request) });
      const text = await response.text();
      if (response.status !== 200 || !text.includes("[DONE]")) throw new Error(`a stream ended early: ${response.status} ${text.slice(-500)}`);
      const generation = response.headers.get("x-everlora-generation") ?? "base";
      generations[generation] = (generations[generation] ?? 0) + 1;
      return Number(/"completion_tokens":(\d+)/.exec(text)?.[1] ?? NaN);
    }),
  );
  const seconds = (performance.now() - started) / 1_000;
  const total = counts.reduce((sum, count) => sum + count, 0);
  return { tokens: total, seconds: Math.round(seconds * 100) / 100, tokensPerSecond: Math.round((10 * total) / seconds) / 10, generations };
}
