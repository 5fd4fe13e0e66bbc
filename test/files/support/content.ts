/** A file's content of some version: large enough to be written in several steps, and telling when it is not whole. */
export function contentOf(version: number): string {
  return `${`version ${version} `.repeat(20_000)}end`;
}

/** The version of a content that is whole, otherwise undefined. */
export function versionOf(content: string): number | undefined {
  const version = Number(/^version (\d+) /.exec(content)?.[1]);
  return content === contentOf(version) ? version : undefined;
}
