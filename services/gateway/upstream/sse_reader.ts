/** Reads server-sent events off a stream of text, however it is cut. Only `data` matters to OpenAI's protocol; comments and other fields are skipped. */
import { EverloraError } from "../../../shared/errors/errors.ts";

const longestEvent = 8 << 20;

/** The `data` of each event, in order. @throws EverloraError upstream_error when an event never ends */
export async function* readEvents(texts: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
  let rest = "";
  let data: string[] = [];
  for await (const text of texts) {
    rest += text;
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) yield data.join("\n");
        data = [];
      } else if (line.startsWith("data:")) data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
    }
    if (rest.length > longestEvent) throw new EverloraError("upstream_error", "The upstream sent an event without an end.");
  }
  // A last event without its blank line: the specification drops it, but servers that close right after `[DONE]` mean it.
  if (rest.startsWith("data:")) data.push(rest.slice(rest.startsWith("data: ") ? 6 : 5).trimEnd());
  if (data.length > 0) yield data.join("\n");
}
