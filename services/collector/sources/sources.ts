/** The caches that are scanned. Another program's layout is another row. */
import { everlora } from "./everlora.ts";
import type { CacheSource } from "./source.ts";

export const sources: readonly CacheSource[] = [everlora];
