/** What a file system says of a file that is not there: for most readers no fault. */
export const isMissing = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "ENOENT";
