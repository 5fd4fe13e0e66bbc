/** The API key: made at the first start, kept in one file that only its owner reads, compared in constant time, never logged. */
import { hash, randomBytes, timingSafeEqual } from "node:crypto";
import { link, readFile, rm, writeFile } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { dirname } from "node:path";
import type { RequestHandler } from "express";
import { EverloraError } from "../errors/errors.ts";
import { syncDirectory } from "../files/atomic.ts";
import { makeFolder } from "../files/folder.ts";
import type { CommonMetrics } from "../metrics/metrics.ts";

/**
 * The key from the settings, or from `file`, which is made when it is missing. Safe when several processes start at once: the first link wins.
 * @returns `created` true exactly once, for the process whose key it became: that one prints it
 */
export async function loadApiKey(given: string | undefined, file: string): Promise<{ apiKey: string; created: boolean }> {
  if (given !== undefined) return { apiKey: given, created: false };
  const existing = await readKey(file);
  if (existing !== undefined) return { apiKey: existing, created: false };
  const apiKey = `everlora_${randomBytes(24).toString("base64url")}`;
  await makeFolder(dirname(file), 0o700);
  const temporary = `${file}.${randomBytes(6).toString("hex")}`;
  await writeFile(temporary, `${apiKey}\n`, { mode: 0o600, flag: "wx", flush: true });
  try {
    await link(temporary, file);
    await syncDirectory(dirname(file));
    return { apiKey, created: true };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const winner = await readKey(file);
    if (winner === undefined) throw new EverloraError("invalid_settings", `${file} is there, but has no key in it.`, { param: "EVERLORA_API_KEY", hint: "Delete the file, and a new key is made; or set EVERLORA_API_KEY." });
    return { apiKey: winner, created: false };
  } finally {
    await rm(temporary, { force: true });
  }
}

/** `loadApiKey` for a service: the process that made the key prints it, on stderr and not in the log, the only time that it is ever printed. */
export async function announcedApiKey(given: string | undefined, file: string): Promise<string> {
  const { apiKey, created } = await loadApiKey(given, file);
  if (created) process.stderr.write(`API key (made now, kept in ${file}): ${apiKey}\n`);
  return apiKey;
}

async function readKey(file: string): Promise<string | undefined> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text.trim() === "" ? undefined : text.trim();
}

/** Accepts `Authorization: Bearer <key>` or `x-api-key: <key>`. */
export function requireApiKey(apiKey: string, metrics: CommonMetrics): RequestHandler {
  const refuse = keyCheck(apiKey, metrics);
  return (request, _response, next) => next(refuse(request.headers));
}

/** What is wrong with the key of a request, or undefined. Compares digests, so that neither length nor content leaks through time. */
export function keyCheck(apiKey: string, metrics: CommonMetrics): (headers: IncomingHttpHeaders) => EverloraError | undefined {
  const expected = digest(apiKey);
  return (headers) => {
    const given = bearer(headers.authorization) ?? headerText(headers["x-api-key"]);
    if (given === undefined) {
      metrics.authFailures.inc({ kind: "missing" });
      return new EverloraError("missing_api_key", "This route needs an API key.");
    }
    if (timingSafeEqual(digest(given), expected)) return undefined;
    metrics.authFailures.inc({ kind: "invalid" });
    return new EverloraError("invalid_api_key", "The API key is not valid.");
  };
}

const digest = (text: string) => hash("sha256", text, "buffer");

function bearer(header: string | undefined): string | undefined {
  const match = /^Bearer +(\S+)$/i.exec(header ?? "");
  return match?.[1];
}

function headerText(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
