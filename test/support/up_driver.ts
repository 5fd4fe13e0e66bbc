/** Runs `up` with the scripted services instead of the real ones: the process that up's tests signal and kill. */
import { fileURLToPath } from "node:url";
import { serviceNames } from "../../cli/fleet/fleet.ts";
import { command } from "../../cli/terminal/report_error.ts";
import { up } from "../../cli/up.ts";

const scriptOf = (name: string) => fileURLToPath(new URL(`./scripted/${name}.ts`, import.meta.url));
const scripts = Object.fromEntries(serviceNames.map((name) => [name, scriptOf(name)])) as Record<(typeof serviceNames)[number], string>;
await command(() => up({ json: true, scripts }))();
