/** How a command ends that failed: what was wrong, how to mend it, and the exit code. A defect of ours shows its stack. */
import { EverloraError } from "../../shared/errors/errors.ts";

/** @returns the exit code: 2 for bad settings, otherwise 1 */
function reportError(error: unknown): number {
  if (isAboutFile(error)) {
    process.stderr.write(`everlora: ${error.message}\n  Name another place: one that this user may read and write, with space left on its disk.\n`);
    return 1;
  }
  if (!(error instanceof EverloraError)) {
    process.stderr.write(`everlora: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    return 1;
  }
  // Bad settings are all named at once; a line each is easier to read.
  const message = error.code === "invalid_settings" ? error.message.replaceAll(/; (?=[A-Z][A-Z\d_]*=)/g, "\n  ") : error.message;
  process.stderr.write(`everlora: ${message}\n  ${error.hint}\n`);
  return error.code === "invalid_settings" ? 2 : 1;
}

/** A path that a person named, or what became of its disk: no defect, however deep it was met. */
function isAboutFile(error: unknown): error is Error {
  return error instanceof Error && "path" in error && "code" in error && fileFaults.has(String(error.code));
}
const fileFaults: ReadonlySet<string> = new Set(["EACCES", "EDQUOT", "EEXIST", "EISDIR", "ENAMETOOLONG", "ENOENT", "ENOSPC", "ENOTDIR", "EPERM", "EROFS"]);

/** A commander action whose number is the exit code and whose errors are reported. */
export function command<A extends unknown[]>(run: (...parameters: A) => Promise<number>): (...parameters: A) => Promise<void> {
  return async (...parameters) => {
    try {
      process.exitCode = await run(...parameters);
    } catch (error) {
      process.exitCode = reportError(error);
    }
  };
}
