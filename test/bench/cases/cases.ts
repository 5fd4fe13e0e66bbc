/** Every bench. A new one is a file beside this and a row here. */
import type { Bench } from "../bench.ts";
import { anonymise } from "./anonymise.ts";
import { cache } from "./cache.ts";
import { classifyBench } from "./classify.ts";
import { compileBench } from "./compile.ts";
import { curves } from "./curves.ts";
import { decode } from "./decode.ts";
import { collect } from "./collect.ts";
import { gateway } from "./gateway.ts";
import { loop } from "./loop.ts";
import { matmul } from "./matmul.ts";
import { memory } from "./memory.ts";
import { swap } from "./swap.ts";
import { train } from "./train.ts";

export const benches: readonly Bench[] = [matmul, cache, collect, anonymise, classifyBench, gateway, swap, train, decode, compileBench, memory, loop, curves];
