/** Who asked, as conversations and rows say it: a digest, from which nobody can be read, and which the same person's questions share. */
import { sha256 } from "./conversation.ts";

/** Whose answer it is: two callers never share one. The key's hash, and the end user that the application names. */
export function callerOf(keyHash: string, ...endUser: (string | null | undefined)[]): string {
  return sha256(JSON.stringify([keyHash, ...endUser.map((part) => part ?? null)]));
}

/**
 * Every digest that somebody may stand under who is known by these names: the digest itself, that of the name, and those of an end user whom an application named
 * as `user` (chat, completions) or `safety_identifier`. Who was named as both stands under neither but under the pair: then both names must be given.
 */
export function callersNamed(names: readonly string[], apiKey: string): string[] {
  const keyHash = sha256(apiKey);
  const single = names.flatMap((name) => [name, sha256(name), callerOf(keyHash, name), callerOf(keyHash, name, null), callerOf(keyHash, null, name)]);
  return [...single, ...names.flatMap((user) => names.map((identifier) => callerOf(keyHash, user, identifier)))];
}
