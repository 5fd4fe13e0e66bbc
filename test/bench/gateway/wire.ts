/** HTTP/1.1 over kept-alive sockets with as little work as possible: a load generator on the same cores must not be what is measured. */
import { connect, type Socket } from "node:net";

export interface WireAnswer {
  readonly status: number;
  readonly headers: string;
  readonly body: string;
}

interface Pending {
  readonly resolve: (answer: WireAnswer) => void;
  readonly reject: (error: Error) => void;
}

/** As many connections as are needed at once; each serves one request at a time and is then used again. */
export class Wire {
  readonly #host: string;
  readonly #port: number;
  readonly #idle: Connection[] = [];
  readonly #all = new Set<Connection>();

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.#host = hostname;
    this.#port = Number(port);
  }

  get connections(): number {
    return this.#all.size;
  }

  async send(request: string): Promise<WireAnswer> {
    const connection = this.#idle.pop() ?? this.#open();
    const answer = await connection.send(request);
    if (connection.usable) this.#idle.push(connection);
    return answer;
  }

  close(): void {
    for (const connection of this.#all) connection.close();
  }

  #open(): Connection {
    const connection = new Connection(connect(this.#port, this.#host), () => {
      this.#all.delete(connection);
      const at = this.#idle.indexOf(connection);
      if (at >= 0) this.#idle.splice(at, 1);
    });
    this.#all.add(connection);
    return connection;
  }
}

class Connection {
  readonly #socket: Socket;
  #pending: Pending | undefined;
  #text = "";
  usable = true;

  constructor(socket: Socket, onClose: () => void) {
    this.#socket = socket;
    socket.setNoDelay(true).setEncoding("latin1");
    socket.on("data", (text: string) => this.#read(text));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => {
      onClose();
      this.#fail(new Error("the connection was closed"));
    });
  }

  send(request: string): Promise<WireAnswer> {
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      this.#socket.write(request);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #fail(error: Error): void {
    this.usable = false;
    this.#pending?.reject(error);
    this.#pending = undefined;
  }

  #read(text: string): void {
    this.#text += text;
    const end = this.#text.indexOf("\r\n\r\n");
    if (end < 0) return;
    const head = this.#text.slice(0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head);
    const whole = length === null ? (this.#text.endsWith("\r\n0\r\n\r\n") ? this.#text.length : Infinity) : end + 4 + Number(length[1]);
    if (this.#text.length < whole) return;
    const answer = { status: Number(head.slice(9, 12)), headers: head, body: this.#text.slice(end + 4, whole) };
    this.#text = this.#text.slice(whole);
    if (/\r\nconnection: *close/i.test(head)) this.usable = false;
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.resolve(answer);
  }
}

export function requestOf(url: string, path: string, headers: Readonly<Record<string, string>>, body: string): string {
  const lines = Object.entries({ host: new URL(url).host, "content-type": "application/json", "content-length": String(Buffer.byteLength(body)), ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `POST ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
}
