/** The checks that run no code of ours: lint and types, each a process of its own. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { projectRoot } from "../../shared/config/settings.ts";
import { newTally, type Tally } from "./tally.ts";

const checks = [
  { name: "lint", program: ["eslint", "bin", "eslint.js"], parameters: ["--max-warnings", "0", "."] },
  { name: "types", program: ["typescript", "bin", "tsc"], parameters: ["--pretty", "false"] },
] as const;

export async function staticChecks(onResult: (line: string) => void): Promise<Tally> {
  const tally = newTally();
  await Promise.all(
    checks.map(async ({ name, program, parameters }) => {
      const { code, output } = await runNode([join(projectRoot, "node_modules", ...program), ...parameters]);
      if (code === 0) tally.passed++;
      else tally.failures.push({ where: name, words: output.trim() });
      onResult(`${code === 0 ? "ok  " : "FAIL"}  ${name}`);
    }),
  );
  return tally;
}

/** Node without our loader: these programs bring what they need. */
async function runNode(parameters: readonly string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, parameters, { cwd: projectRoot, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output }));
  });
}
