/** What a person sees while the demo goes on: bars on a terminal, a line for each change elsewhere. All of it on stderr. */
import { MultiBar, Presets, type SingleBar } from "cli-progress";
import type { DomainView, View } from "./watch.ts";

export interface Progress {
  show(view: View): void;
  stop(): void;
}

export function showProgress(stream: NodeJS.WriteStream): Progress {
  return stream.isTTY ? bars(stream) : lines(stream);
}

function bars(stream: NodeJS.WriteStream): Progress {
  const all = new MultiBar({ stream, hideCursor: true, format: "  {name} {bar} {words}", barsize: 30, autopadding: true, gracefulExit: false }, Presets.shades_classic);
  const known = new Map<string, SingleBar>();
  const set = (name: string, value: number, total: number, words: string) => {
    const bar = known.get(name) ?? all.create(total, 0, { name: name.padEnd(10), words });
    known.set(name, bar);
    bar.setTotal(Math.max(1, total));
    bar.update(value, { words });
  };
  return {
    show: (view) => {
      set("collect", view.collected, view.total, `${view.collected} of ${view.total} conversations`);
      for (const domain of view.domains) {
        const { step, steps } = ended(domain) ? { step: 1, steps: 1 } : (domain.progress ?? { step: 0, steps: 1 });
        set(domain.domain, step, steps, wordsOf(domain));
      }
    },
    stop: () => all.stop(),
  };
}

/** A line when something changed; while a run goes on, one for each quarter of it. */
function lines(stream: NodeJS.WriteStream): Progress {
  const said = new Map<string, string>();
  const say = (name: string, key: string, words: string) => {
    if (said.get(name) === key) return;
    said.set(name, key);
    stream.write(`${name.padEnd(10)} ${words}\n`);
  };
  return {
    show: (view) => {
      say("collect", String(view.collected), `${view.collected} of ${view.total} conversations`);
      for (const domain of view.domains) {
        const quarter = domain.progress === null ? 0 : Math.floor((4 * domain.progress.step) / Math.max(1, domain.progress.steps));
        if (domain.state !== "collecting") say(domain.domain, `${domain.state} ${quarter}`, wordsOf(domain));
      }
    },
    stop: () => undefined,
  };
}

const ended = ({ state }: DomainView) => state === "published" || state === "rejected" || state === "failed" || state === "cancelled";

function wordsOf({ state, rows, needed, progress }: DomainView): string {
  if (state === "collecting") return `${rows} rows of the ${needed} that start a training`;
  if (state === "waiting" || state === "queued") return `${rows} rows, in the queue`;
  if (state !== "running") return state;
  if (progress === null) return `${rows} rows, preparing`;
  return `training, step ${progress.step} of ${progress.steps}${progress.loss === null ? "" : `, loss ${progress.loss.toFixed(3)}`}`;
}
