/** A program: bare Express, JSON body read, one GET from Redis, its value sent. What an exact hit can at best cost. Arguments: Redis' URL, the key. Prints its address. */
import type { AddressInfo } from "node:net";
import express from "express";
import { silentLogger } from "../../../shared/log/log.ts";
import { openRedis } from "../../../shared/redis/redis.ts";

const [url = "", key = ""] = process.argv.slice(2);
const redis = await openRedis(url, "failFast", silentLogger);
const app = express();
app.use(express.json());
app.post("/v1/chat/completions", (_request, response, next) => {
  redis.get(key).then((value) => response.type("json").send(value), next);
});
const server = app.listen(0, "127.0.0.1", () => process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`));
process.once("disconnect", () => process.exit(0));
