/** The salt of surrogates: 32 random bytes, one file per data folder, readable by its owner alone. Without the file no surrogate can be traced back. */
import { randomBytes } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { EverloraError, messageOf } from "../errors/errors.ts";
import { makeFolder } from "../files/folder.ts";

const saltFile = "anonymiser-salt";
const saltBytes = 32;

/** @param state pathsOf(settings).state; the file is made where it is missing @throws EverloraError invalid_settings for a damaged file */
export async function loadSalt(state: string): Promise<Uint8Array> {
  const path = join(state, saltFile);
  await makeFolder(dirname(path));
  try {
    const handle = await open(path, "wx", 0o600);
    try {
      const salt = randomBytes(saltBytes);
      await handle.writeFile(salt.toString("hex"));
      await handle.sync();
      return salt;
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error.code !== "EEXIST") throw new EverloraError("invalid_settings", `${path}: ${messageOf(error)}`, { hint: "Make the folder writable." });
  }
  const salt = Buffer.from((await readFile(path, "utf8")).trim(), "hex");
  if (salt.length !== saltBytes) throw new EverloraError("invalid_settings", `${path} holds ${salt.length} bytes, not ${saltBytes} in hexadecimal digits.`, { hint: "Remove the file; surrogates of later rows will differ from those of earlier ones." });
  return salt;
}
