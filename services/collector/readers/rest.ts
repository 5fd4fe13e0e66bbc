/** A loop's pauses, which end early when the loop is told to stop. */
export interface Rest {
  readonly stopped: boolean;
  pause(milliseconds: number): Promise<void>;
  /** Ends the present pause. */
  wake(): void;
  stop(): void;
}

export function createRest(): Rest {
  let stopped = false;
  let wake: () => void = () => undefined;
  return {
    get stopped() {
      return stopped;
    },
    pause: (milliseconds) =>
      new Promise((resolve) => {
        if (stopped) {
          resolve();
          return;
        }
        const timer = setTimeout(resolve, milliseconds);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
    wake: () => wake(),
    stop() {
      stopped = true;
      wake();
    },
  };
}
