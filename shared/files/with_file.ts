/** Reading from a file that may not be there. */
import { open, type FileHandle } from "node:fs/promises";
import { isMissing } from "./missing.ts";

/** Opens the file for `work`, and closes it whatever becomes of that. @returns null for a file that isn't there @throws what opening or `work` throws */
export async function withFile<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T | null> {
  let file;
  try {
    file = await open(path, "r");
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}
