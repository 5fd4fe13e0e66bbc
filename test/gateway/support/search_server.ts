/**
 * A stand-in for a Redis with RediSearch, where none can be installed: hands every command to a real redis-server but COMMAND INFO, FT.CREATE and
 * FT.SEARCH, whose documented syntax it checks and which it answers by looking through the hashes. It proves what we send and how we read the answer,
 * not that RediSearch does what its documentation says.
 */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { openRedis, type Redis } from "../../../shared/redis/redis.ts";
import { silentLogger } from "../../../shared/log/log.ts";
import { encode, endOf, wordsOf, type Reply } from "./resp.ts";

interface Index {
  readonly prefix: string;
  readonly tag: string;
  readonly vector: string;
  readonly dimension: number;
}

export interface SearchServer {
  readonly url: string;
  readonly searches: number;
  stop(): Promise<void>;
}

export async function startSearchServer(backend: string): Promise<SearchServer> {
  const direct = await openRedis(backend, "failFast", silentLogger);
  const indexes = new Map<string, Index>();
  const state = { searches: 0 };
  const answer = async (words: readonly Buffer[]): Promise<Reply | undefined> => {
    const [command = "", sub = ""] = words.map((word) => word.toString().toUpperCase());
    if (command === "COMMAND" && sub === "INFO") return words.slice(2).map((word) => (word.toString().toUpperCase() === "FT.SEARCH" ? ["ft.search", -3] : null));
    if (command === "FT.CREATE") return create(words.map(String), indexes);
    if (command !== "FT.SEARCH") return undefined;
    state.searches++;
    return search(words, indexes, direct);
  };
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const { hostname, port } = new URL(backend);
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    void serve(client, upstream, answer);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get searches() {
      return state.searches;
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      direct.disconnect();
    },
  };
}

/** One command after the other, as Redis does for each connection. */
async function serve(client: Socket, upstream: Socket, answer: (words: readonly Buffer[]) => Promise<Reply | undefined>): Promise<void> {
  const replies = values(upstream);
  for await (const command of values(client)) {
    const own = await answer(wordsOf(command)).catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))));
    if (own !== undefined) client.write(encode(own));
    else {
      upstream.write(command);
      const { value, done } = await replies.next();
      if (done === true) return;
      client.write(value);
    }
  }
}

async function* values(socket: Socket): AsyncGenerator<Buffer, void, undefined> {
  let rest = Buffer.alloc(0);
  try {
    for await (const piece of socket) {
      rest = Buffer.concat([rest, piece as Buffer]);
      for (let end = endOf(rest, 0); end >= 0 && rest.length > 0; end = endOf(rest, 0)) {
        yield rest.subarray(0, end);
        rest = rest.subarray(end);
      }
    }
  } catch {
    // The connection was closed.
  }
}

/** FT.CREATE name ON HASH PREFIX 1 prefix SCHEMA field TAG field VECTOR HNSW 6 TYPE FLOAT32 DIM n DISTANCE_METRIC COSINE */
function create(words: readonly string[], indexes: Map<string, Index>): Reply {
  const line = words.slice(2).join(" ");
  const match = /^ON HASH PREFIX 1 (\S+) SCHEMA (\w+) TAG (\w+) VECTOR HNSW 6 TYPE FLOAT32 DIM (\d+) DISTANCE_METRIC COSINE$/.exec(line);
  if (match === null) return new Error(`unknown argument in ${line}`);
  const name = words[1] ?? "";
  if (indexes.has(name)) return new Error("Index already exists");
  indexes.set(name, { prefix: match[1] ?? "", tag: match[2] ?? "", vector: match[3] ?? "", dimension: Number(match[4]) });
  return "OK";
}

/** FT.SEARCH name "(@tag:{value})=>[KNN k @field $name AS alias]" PARAMS 2 name blob RETURN 1 alias LIMIT 0 n DIALECT 2 */
async function search(words: readonly Buffer[], indexes: Map<string, Index>, redis: Redis): Promise<Reply> {
  const [, name = "", query = "", ...rest] = words.map(String);
  const index = indexes.get(name);
  if (index === undefined) return new Error(`${name}: no such index`);
  const parsed = /^\(@(\w+):\{(\w+)\}\)=>\[KNN (\d+) @(\w+) \$(\w+) AS (\w+)\]$/.exec(query);
  if (parsed === null) return new Error("Syntax error in the query");
  const [, tag = "", value = "", count = "", field = "", parameter = "", alias = ""] = parsed;
  if (tag !== index.tag || field !== index.vector) return new Error("Unknown field");
  if (rest.filter((_word, at) => at !== 3).join(" ") !== `PARAMS 2 ${parameter} RETURN 1 ${alias} LIMIT 0 ${count} DIALECT 2`) return new Error("Unknown argument");
  const blob = words[6] ?? Buffer.alloc(0);
  if (blob.length !== 4 * index.dimension) return new Error("Error parsing vector similarity query: query vector blob size does not match");
  const found: [string, number][] = [];
  for (const key of await redis.keys(`${index.prefix}*`)) {
    const [owner, vector] = await redis.hmgetBuffer(key, index.tag, index.vector).catch(() => [null, null]);
    if (owner?.toString() === value && vector?.length === blob.length) found.push([key, 1 - cosineOf(blob, vector)]);
  }
  const nearest = found.sort((a, b) => a[1] - b[1]).slice(0, Number(count));
  return [nearest.length, ...nearest.flatMap(([key, distance]) => [key, [alias, String(distance)]])];
}

function cosineOf(a: Buffer, b: Buffer): number {
  let [dot, x, y] = [0, 0, 0];
  for (let at = 0; at < a.length; at += 4) {
    dot += a.readFloatLE(at) * b.readFloatLE(at);
    x += a.readFloatLE(at) ** 2;
    y += b.readFloatLE(at) ** 2;
  }
  return dot / Math.sqrt(x * y);
}
