/** Imports the modules that are named, one after the other, and does nothing else. Whatever keeps it from ending, a module has started. */
import { pathToFileURL } from "node:url";

for (const file of process.argv.slice(2)) await import(pathToFileURL(file).href);
process.send?.("imported");
process.disconnect?.();
