/** The caches that are scanned. Another program's layout is a row of layouts.ts. */
import { everlora } from "./everlora.ts";
import { foreign } from "./foreign.ts";
import type { CacheSource } from "./source.ts";

export const sources: readonly CacheSource[] = [everlora, foreign];
