/** Called by make.py, from a folder with LangChain JS: writes one chat generation and one text generation through its Redis cache. */
import { createRequire } from "node:module";
import { AIMessage } from "@langchain/core/messages";

const [which, port] = process.argv.slice(2);
const versionOf = (name) => `${name} ${createRequire(import.meta.url)(`./node_modules/${name}/package.json`).version}`;
const answer = "Abra 192.168.0.1 no navegador, entre em \"Administração\" e escolha 'Senha'.\nSalve no fim. ✓";
const generations = [{ text: answer, message: new AIMessage(answer) }];
const url = `redis://127.0.0.1:${port}`;

if (which === "redis") {
  const { createClient } = await import("redis");
  const { RedisCache } = await import("@langchain/redis");
  const client = createClient({ url });
  await client.connect();
  const cache = new RedisCache(client);
  await cache.update("Human: Como faço para trocar a senha do meu roteador?", "openai-gpt-4o", generations);
  await cache.update("Say one word.", "openai-instruct", [{ text: "One" }]);
  console.log(`${versionOf("@langchain/redis")}, ${versionOf("@langchain/core")}`);
  await client.close();
} else {
  const { Redis } = await import("ioredis");
  const { RedisCache } = await import("@langchain/community/caches/ioredis");
  const client = new Redis(url);
  const cache = new RedisCache(client, { ttl: 600 });
  await cache.update("Human: Como faço para trocar a senha do meu roteador?", "openai-gpt-4o", generations);
  console.log(`${versionOf("@langchain/community")}, ${versionOf("@langchain/core")}`);
  await client.quit();
}
process.exit(0); // a client of either library may keep the process alive
