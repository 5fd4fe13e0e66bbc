/** Every bench. A new one is a file beside this and a row here. */
import type { Bench } from "../bench.ts";
import { cache } from "./cache.ts";
import { decode } from "./decode.ts";
import { collect } from "./collect.ts";
import { gateway } from "./gateway.ts";
import { matmul } from "./matmul.ts";
import { train } from "./train.ts";

export const benches: readonly Bench[] = [matmul, cache, collect, gateway, train, decode];
