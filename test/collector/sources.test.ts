/** Other programs' caches, as they themselves wrote them (test/golden/caches): read whole, counted, and left exactly as they were. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { z } from "zod";
import { projectRoot } from "../../shared/config/settings.ts";
import { silentLogger } from "../../shared/log/log.ts";
import { openRedis, type Redis } from "../../shared/redis/redis.ts";
import type { Conversation } from "../../shared/events/conversation.ts";
import { foreign } from "../../services/collector/sources/foreign.ts";
import { layouts } from "../../services/collector/sources/layouts.ts";
import { parsePythonLiteral } from "../../services/collector/sources/python_literal.ts";
import type { Entry } from "../../services/collector/sources/source.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { allRows, newFolder, startTestCollector, statusOf, until } from "./support.ts";

const argument = z.union([z.string(), z.strictObject({ base64: z.string() })]);
const golden = z.array(z.object({ layout: z.string(), writer: z.string(), commands: z.array(z.array(argument)) }));
const bytesOf = (each: z.infer<typeof argument>) => (typeof each === "string" ? Buffer.from(each) : Buffer.from(each.base64, "base64"));

const question = "Como faço para trocar a senha do meu roteador?";
const answer = "Abra 192.168.0.1 no navegador, entre em \"Administração\" e escolha 'Senha'.\nSalve no fim. ✓";
const system = "Você atende clientes de internet.";

interface Expected {
  readonly layout: string;
  /** [messages, answer, model] of each usable entry. */
  readonly pairs?: readonly (readonly [messages: readonly (readonly [string, string])[], answer: string, model: string])[];
  readonly noPrompt?: number;
}

/** By the golden's name. */
const expected: Readonly<Record<string, Expected>> = {
  "redisvl-semantic": { layout: "redisvl", pairs: [[[["user", question]], answer, "redisvl"], [[["user", "What is the capital city of France?"]], "Paris", "redisvl"]] },
  "langchain-py-redisvl-semantic": { layout: "langchain-redisvl", pairs: [[[["system", system], ["user", question]], answer, "gpt-4o-2024-08-06"], [[["user", question]], answer, "langchain-redisvl"]] },
  "langchain-py-exact": { layout: "langchain-exact", noPrompt: 1 },
  "langchain-community-exact": { layout: "langchain-community-exact", noPrompt: 1 },
  "langchain-community-semantic": { layout: "langchain-community-semantic", pairs: [[[["user", question]], answer, "langchain-community-semantic"], [[["user", question]], answer, "langchain-community-semantic"]] },
  "langchain-js-redis": { layout: "langchain-js", noPrompt: 2 },
  "langchain-js-ioredis": { layout: "langchain-js", noPrompt: 1 },
  "litellm-exact-json": { layout: "litellm-exact", noPrompt: 1 },
  "litellm-exact-repr": { layout: "litellm-exact", noPrompt: 1 },
  "litellm-semantic": { layout: "litellm-semantic", pairs: [[[["user", `${system}${question}`]], answer, "gpt-4o-2024-08-06"], [[["user", "What is the capital city of France?"]], answer, "gpt-4o-2024-08-06"]] },
  "gptcache-scalar": { layout: "gptcache", pairs: [[[["user", question]], answer, "gptcache"], [[["user", question]], answer, "gptcache"]] },
  "gptcache-vector": { layout: "gptcache" },
};

const goldens = golden.parse(JSON.parse(await readFile(join(projectRoot, "test", "golden", "caches", "entries.json"), "utf8")));

describe("other programs' caches", () => {
  let server: TestRedis;
  let redis: Redis;
  before(async () => {
    server = await startRedis();
    redis = await openRedis(server.url, "failFast", silentLogger);
  });
  beforeEach(() => redis.flushall());
  after(async () => {
    redis.disconnect();
    await server.stop();
  });

  /** Replays what was recorded. A plain Redis has no JSON type: those documents are kept here, and given out by `withJson`. */
  const replay = async (commands: (typeof goldens)[number]["commands"]): Promise<Map<string, Buffer>> => {
    const documents = new Map<string, Buffer>();
    for (const command of commands) {
      const [name = Buffer.alloc(0), ...rest] = command.map(bytesOf);
      if (name.toString().toUpperCase() === "JSON.SET") documents.set(String(rest[0]), rest[2] ?? Buffer.alloc(0));
      else if (!documents.has(String(rest[0]))) await redis.call(name.toString(), ...rest);
    }
    return documents;
  };

  it("has a golden for every layout, and an expectation for every golden", () => {
    assert.deepEqual(goldens.map(({ layout }) => layout).sort(), Object.keys(expected).sort());
    const covered = new Set(Object.values(expected).map(({ layout }) => layout));
    assert.deepEqual(layouts.map(({ name }) => name).filter((name) => !covered.has(name)), []);
  });

  for (const { layout: name, writer, commands } of goldens) {
    it(`reads ${name} as ${writer} wrote it`, async () => {
      const documents = await replay(commands);
      const keys = [...(await redis.keys("*")), ...documents.keys()].filter((key) => foreign.mayBe(key));
      const entries = await foreign.read(withJson(redis, documents), keys);
      const { layout, pairs = [], noPrompt = 0 } = expected[name] ?? { layout: "" };
      assert.deepEqual(entries.filter((entry) => "fault" in entry), []);
      assert.deepEqual([...new Set(entries.map((entry) => entry.layout))], entries.length === 0 ? [] : [layout]);
      assert.equal(entries.filter((entry) => "unusable" in entry).length, noPrompt);
      const found = conversationsOf(entries).map(({ messages, answer: said, model }) => [messages.map((message) => [message.role, message.content]), said.content, model]);
      assert.deepEqual(sorted(found), sorted(pairs));
      for (const conversation of conversationsOf(entries)) assert.deepEqual([conversation.provenance, conversation.source], [{ from: "cache", layout }, "import"]);
    });
  }

  it("changes nothing: values, TTLs, and nothing but reads on the wire", async () => {
    for (const { commands } of goldens) await replay(commands);
    const keys = (await redis.keys("*")).sort();
    const look = async () => Promise.all(keys.map(async (key) => [key, await redis.dumpBuffer(key).then((bytes) => bytes?.toString("hex")), await redis.pexpiretime(key)]));
    const before = await look();
    const monitor = await redis.monitor();
    const seen = new Set<string>();
    monitor.on("monitor", (_time: string, command: string[]) => seen.add((command[0] ?? "").toUpperCase()));
    const folder = await newFolder();
    const collector = await startTestCollector(folder.path, server.url);
    try {
      const status = await until(() => statusOf(collector.url), (now) => now.scanner.lastScan !== null && !now.scanner.scanning, "a scan");
      const layoutsSeen = status.scanner.lastScan?.layouts;
      assert.deepEqual(layoutsSeen?.["redisvl"], { usable: 2, no_prompt: 0, unparsable: 0 });
      assert.deepEqual(layoutsSeen["litellm-exact"], { usable: 0, no_prompt: 1, unparsable: 0 });
      await collector.close();
      const rows = await allRows(folder.path);
      assert.ok(rows.some(({ provenance, messages }) => provenance?.layout === "litellm-semantic" && messages.length === 2));
    } finally {
      await collector.close();
      await folder.remove();
      monitor.disconnect();
    }
    assert.deepEqual(await look(), before);
    const wrote = [...seen].filter((command) => !/^(?:HELLO|AUTH|SELECT|INFO|CLIENT|CONFIG|SCAN|TYPE|HSTRLEN|STRLEN|EXISTS|HMGET|HGET|GET|JSON\.GET|MULTI|EXEC|PING|X\w+|EVALSHA|EVAL|HMSET|ZRANGE|LRANGE|HSET|MONITOR|HGETALL|SCRIPT|PEXPIRETIME|DUMP|KEYS)$/.test(command));
    assert.deepEqual(wrote, []);
  });

  it("names what it can't read, and goes on", async () => {
    const hash = "a".repeat(64);
    await redis.hset(`llmcache:${hash}`, "entry_id", hash, "prompt", "x", "response", Buffer.from([0xff, 0xfe, 0x00]));
    await redis.hset(`lc:${"b".repeat(64)}`, "prompt", "hi", "response", '["{\\"lc\\": 1, broken"]');
    await redis.hset(`litellm_semantic_cache_index:${"c".repeat(64)}`, "prompt", "hi", "response", "{'timestamp': 1, 'response': '{", "litellm_cache_key", "k");
    await redis.hset(`huge:${"d".repeat(64)}`, "entry_id", "d", "prompt", "hi", "response", "x".repeat(5_000_000));
    await redis.set("e".repeat(64), "session data of nobody we know");
    await redis.hset(`sessions:${"f".repeat(64)}`, "user", "1");
    const entries = await foreign.read(redis, (await redis.keys("*")).filter((key) => foreign.mayBe(key)));
    const faults = Object.fromEntries(entries.map((entry) => [entry.key.slice(0, 8), "fault" in entry ? entry.fault : "none"]));
    assert.deepEqual(Object.keys(faults).sort(), ["huge:ddd", "lc:bbbbb", "litellm_", "llmcache"]);
    assert.match(faults["llmcache"] ?? "", /not UTF-8/);
    assert.match(faults["huge:ddd"] ?? "", /bytes; at most/);
    assert.doesNotMatch(JSON.stringify(entries), /session data|broken/);
  });

  it("leaves out an entry that goes or changes its type between two looks", async () => {
    for (const { layout, commands } of goldens) if (layout === "redisvl-semantic") await replay(commands);
    const keys = await redis.keys("*");
    const racing = new Proxy(redis, {
      get(target, property) {
        if (property !== "pipeline") return Reflect.get(target, property, target) as unknown;
        return () => {
          const pipeline = target.pipeline();
          const exec = pipeline.exec.bind(pipeline);
          // Between the look at the types and the read of the values one entry expires, and another becomes something else.
          pipeline.exec = async () => {
            const replies = await exec();
            await target.del(keys[0] ?? "");
            await target.set(keys[1] ?? "", "a string now");
            return replies;
          };
          return pipeline;
        };
      },
    });
    assert.deepEqual(await foreign.read(racing, keys), []);
  });
});

describe("Python literals", () => {
  it("reads what repr() writes", () => {
    // Made by CPython 3.11: print(repr(value)).
    assert.deepEqual(parsePythonLiteral(`{'a': "it's", 'b': [1, -2.5, 1e-07], 'c': (True, False, None), 'd': {}, 'e': 'l\\n\\t\\\\ \\x00 é ✓ \\u200b \\U0001f600 "q" \\'', 3: []}`), { a: "it's", b: [1, -2.5, 1e-7], c: [true, false, null], d: {}, e: "l\n\t\\ \0 é ✓ \u200b 😀 \"q\" '", 3: [] });
    assert.deepEqual(parsePythonLiteral("{'__proto__': 1}"), JSON.parse('{"__proto__": 1}'));
  });
  for (const bad of ["{'a': 1", "{'a' 1}", "[1 2]", "'open", "__import__('os')", "{'a': 1} x", "'\\xzz'", "[".repeat(5_000), ""]) {
    it(`refuses ${JSON.stringify(bad.slice(0, 20))}`, () => assert.throws(() => parsePythonLiteral(bad), SyntaxError));
  }
});

const conversationsOf = (entries: readonly Entry[]): Conversation[] => entries.flatMap((entry) => ("conversation" in entry ? [entry.conversation] : []));
const sorted = (pairs: readonly unknown[]) => pairs.map((pair) => JSON.stringify(pair)).sort();

/** A client whose server has RedisJSON, for these documents. */
function withJson(redis: Redis, documents: ReadonlyMap<string, Buffer>): Redis {
  return new Proxy(redis, {
    get(target, property) {
      if (property !== "pipeline") return Reflect.get(target, property, target) as unknown;
      return () => {
        const replies: [null, unknown][] = [];
        const real = target.pipeline();
        const places: number[] = [];
        const own = (command: string, key: string, run: () => unknown) => {
          const document = documents.get(key);
          if (document === undefined) {
            places.push(replies.push([null, null]) - 1);
            run();
          } else replies.push([null, command === "type" ? "ReJSON-RL" : document]);
          return pipeline;
        };
        const pipeline = {
          get length() {
            return replies.length;
          },
          type: (key: string) => own("type", key, () => real.type(key)),
          hstrlen: (key: string, field: string) => own("hstrlen", key, () => real.hstrlen(key, field)),
          strlen: (key: string) => own("strlen", key, () => real.strlen(key)),
          hmgetBuffer: (key: string, ...fields: string[]) => own("hmget", key, () => real.hmgetBuffer(key, ...fields)),
          getBuffer: (key: string) => own("get", key, () => real.getBuffer(key)),
          callBuffer: (command: string, key: string) => own("json", key, () => real.callBuffer(command, key)),
          exec: async () => {
            const answers = (await real.exec()) ?? [];
            places.forEach((place, at) => (replies[place] = answers[at] as [null, unknown]));
            return replies;
          },
        };
        return pipeline;
      };
    },
  });
}
