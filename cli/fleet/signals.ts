/** Ctrl-C and its relatives, as promises: the first asks for an orderly end, the second for one at once. */

export interface StopSignals {
  /** The name of the first signal. */
  readonly first: Promise<NodeJS.Signals>;
  /** The exit code that the shell expects of a program that a signal ended, 0 before one came. */
  exitCode(): number;
  /** Back to Node's own behaviour. */
  dispose(): void;
}

/** Wrappers (npm, timeout) pass a signal on that the terminal has sent to the whole group already: what comes this soon is the same one. */
const echoMs = 500;

/** SIGHUP: the terminal was closed. */
const numbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/** @param onSecond called when a signal comes while the orderly end goes on */
export function stopSignals(onSecond: () => void): StopSignals {
  let received: keyof typeof numbers | undefined;
  let receivedAt = 0;
  let resolveFirst: (signal: NodeJS.Signals) => void = () => undefined;
  const first = new Promise<NodeJS.Signals>((resolve) => (resolveFirst = resolve));
  const listeners = Object.keys(numbers).map((name) => {
    const signal = name as keyof typeof numbers;
    const listener = () => {
      if (received !== undefined) {
        if (performance.now() - receivedAt > echoMs) onSecond();
        return;
      }
      received = signal;
      receivedAt = performance.now();
      resolveFirst(signal);
    };
    process.on(signal, listener);
    return { signal, listener };
  });
  return {
    first,
    exitCode: () => (received === undefined ? 0 : 128 + numbers[received]),
    dispose: () => {
      for (const { signal, listener } of listeners) process.removeListener(signal, listener);
    },
  };
}
