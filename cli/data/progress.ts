/** How far a file has been read: a bar on a terminal, nothing elsewhere. On stderr, so that stdout stays what the command says. */
import { Presets, SingleBar } from "cli-progress";

export interface FileProgress {
  show(what: string, done: number, total: number, records: number): void;
  /** Before anything else is printed. */
  clear(): void;
}

export function fileProgress(stream: NodeJS.WriteStream): FileProgress {
  if (!stream.isTTY) return { show: () => undefined, clear: () => undefined };
  let bar: SingleBar | null = null;
  return {
    show(what, done, total, records) {
      if (bar === null) {
        bar = new SingleBar({ stream, hideCursor: true, clearOnComplete: true, format: "  {what} {bar} {percentage} % {records} records", barsize: 30 }, Presets.shades_classic);
        bar.start(Math.max(1, total), done, { what, records });
      }
      bar.setTotal(Math.max(1, total));
      bar.update(done, { what, records });
    },
    clear() {
      bar?.stop();
      bar = null;
    },
  };
}
