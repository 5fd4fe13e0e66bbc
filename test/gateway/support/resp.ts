/** As much of Redis' protocol (RESP2, and RESP3's replies) as a stand-in between client and server needs: where a value ends, what a command says, how to answer. */

/** @returns where the value that begins at `from` ends; -1 while some of it is missing */
export function endOf(bytes: Buffer, from: number): number {
  const line = bytes.indexOf("\r\n", from);
  if (line < 0) return -1;
  const type = String.fromCharCode(bytes[from] ?? 0);
  const size = Number(bytes.toString("latin1", from + 1, line));
  if ("$=!".includes(type)) return size < 0 ? line + 2 : bytes.length >= line + 4 + size ? line + 4 + size : -1;
  let end = line + 2;
  const inner = "*~>".includes(type) ? size : type === "%" ? 2 * size : 0;
  for (let at = 0; at < inner && end >= 0; at++) end = endOf(bytes, end);
  return end;
}

/** The words of one command, which is an array of bulk strings. */
export function wordsOf(bytes: Buffer): Buffer[] {
  const words: Buffer[] = [];
  let at = bytes.indexOf("\r\n") + 2;
  while (at < bytes.length) {
    const line = bytes.indexOf("\r\n", at);
    const size = Number(bytes.toString("latin1", at + 1, line));
    words.push(bytes.subarray(line + 2, line + 2 + size));
    at = line + 4 + size;
  }
  return words;
}

export type Reply = string | number | null | Error | readonly Reply[];

export function encode(reply: Reply): Buffer {
  if (reply === null) return Buffer.from("$-1\r\n");
  if (reply instanceof Error) return Buffer.from(`-ERR ${reply.message}\r\n`);
  if (typeof reply === "number") return Buffer.from(`:${reply}\r\n`);
  if (typeof reply === "string") return Buffer.concat([Buffer.from(`$${Buffer.byteLength(reply)}\r\n`), Buffer.from(reply), Buffer.from("\r\n")]);
  return Buffer.concat([Buffer.from(`*${reply.length}\r\n`), ...reply.map(encode)]);
}
