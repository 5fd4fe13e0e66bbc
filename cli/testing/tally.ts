/** What a check found out: counted, with the words to print for what failed or was skipped. */

export interface Failure {
  readonly where: string;
  readonly words: string;
}

export interface Tally {
  passed: number;
  readonly failures: Failure[];
  readonly skipped: { readonly where: string; readonly reason: string }[];
}

export const newTally = (): Tally => ({ passed: 0, failures: [], skipped: [] });

/** The closing line that people and machines read: `N passed, N failed, N skipped`. */
export function closingLine({ passed, failures, skipped }: Tally): string {
  return `${passed} passed, ${failures.length} failed, ${skipped.length} skipped`;
}

export function merge(into: Tally, from: Tally): void {
  into.passed += from.passed;
  into.failures.push(...from.failures);
  into.skipped.push(...from.skipped);
}
