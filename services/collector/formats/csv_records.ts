/**
 * CSV text in whole records, without those that are too long. csv-parse throws away the rest of what it was handed when a record is, and with it good records;
 * so it is only handed what is short enough. Where a record ends is all that is looked at here: what is wrong within one is csv-parse's to say.
 */

/**
 * @param longest in UTF-16 units
 * @param onTooLong told the line at which such a record begins; its lines stay, empty, so that those after it keep their numbers
 */
export async function* shortRecords(chunks: AsyncIterable<string>, delimiter: string, longest: number, onTooLong: (line: number) => void): AsyncGenerator<string> {
  const tokens = new RegExp(`["\\n${delimiter === "|" ? "\\|" : delimiter}]`, "g");
  let quoted = false;
  /** Whether the next character begins a field: only there a quote opens one. */
  let fresh = true;
  /** The last character closed a quote: another one is a quote within the field. */
  let closed = false;
  let line = 1;
  let begin = 1;
  let held: string[] = [];
  let length = 0;
  let dropping = false;
  const keep = (text: string) => {
    length += text.length;
    if (length > longest && !dropping) {
      dropping = true;
      held = [];
      onTooLong(begin);
    }
    if (!dropping) held.push(text);
  };
  for await (const chunk of chunks) {
    let whole = "";
    let start = 0;
    let last = -1;
    for (let match = ((tokens.lastIndex = 0), tokens.exec(chunk)); match !== null; match = tokens.exec(chunk)) {
      const at = match.index;
      if (at > last + 1) fresh = closed = false;
      last = at;
      const token = match[0];
      if (token === '"') {
        if (quoted) [quoted, closed] = [false, true];
        else if (fresh || closed) [quoted, closed] = [true, false];
        fresh = false;
        continue;
      }
      if (token === "\n") line++;
      if (quoted) continue;
      [fresh, closed] = [true, false];
      if (token !== "\n") continue;
      keep(chunk.slice(start, at + 1));
      start = at + 1;
      whole += dropping ? "\n".repeat(line - begin) : held.join("");
      held = [];
      [length, dropping, begin] = [0, false, line];
    }
    if (chunk.length > last + 1) fresh = closed = false;
    keep(chunk.slice(start));
    if (whole !== "") yield whole;
  }
  if (!dropping && held.length > 0) yield held.join("");
}
