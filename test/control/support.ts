/** A reader of server-sent events that can be cut off and resumed. */
export interface ServerEvent {
  readonly id: string;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

export interface EventClient {
  readonly status: number;
  readonly events: ServerEvent[];
  readonly comments: string[];
  /** Resolves when the server has closed the stream, or the client was cut off. */
  readonly ended: Promise<void>;
  cut(): void;
}

export async function openEvents(url: string, key: string, lastEventId?: string): Promise<EventClient> {
  const cutter = new AbortController();
  const response = await fetch(url, { signal: cutter.signal, headers: { authorization: `Bearer ${key}`, accept: "text/event-stream", ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }) } });
  const events: ServerEvent[] = [];
  const comments: string[] = [];
  const read = async () => {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      rest += decoder.decode(chunk as Uint8Array, { stream: true });
      for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
        const block = rest.slice(0, end);
        rest = rest.slice(end + 2);
        const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
        if (fields["event"] !== undefined) events.push({ id: fields["id"] ?? "", event: fields["event"], data: JSON.parse(fields["data"] ?? "{}") as Record<string, unknown> });
        else if (block.startsWith(":")) comments.push(block);
      }
    }
  };
  return { status: response.status, events, comments, ended: read().catch(() => undefined), cut: () => cutter.abort() };
}
