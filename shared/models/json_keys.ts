/** What JSON.parse would not tell of a file that a stranger wrote: it keeps the last of two equal keys in silence, and builds whatever depth a text has. */

/** @returns a key that one object has twice, and whether the text nests deeper than `maxDepth` (then it is not looked at further) */
export function scanKeys(text: string, maxDepth: number): { readonly twice?: string; readonly tooDeep: boolean } {
  const open: (Set<string> | null)[] = [];
  let twice: string | undefined;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') {
      const start = at;
      for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === "\\") at++;
      let next = at + 1;
      while (isSpace(text.charCodeAt(next))) next++;
      const keys = open.at(-1);
      if (text[next] !== ":" || keys === undefined || keys === null) continue;
      const key = unquote(text.slice(start, at + 1));
      if (keys.has(key)) twice ??= key;
      keys.add(key);
    } else if (character === "{" || character === "[") {
      open.push(character === "{" ? new Set() : null);
      if (open.length > maxDepth) return { tooDeep: true };
    } else if (character === "}" || character === "]") open.pop();
  }
  return twice === undefined ? { tooDeep: false } : { twice, tooDeep: false };
}

const isSpace = (code: number) => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;

/** "a" and "\u0061" are the same key. What is no JSON string is for JSON.parse to refuse. */
function unquote(text: string): string {
  if (!text.includes("\\")) return text.slice(1, -1);
  try {
    return String(JSON.parse(text));
  } catch {
    return text;
  }
}
