/**
 * The run child's end of the fork's channel, and the reasons for which it must die: a trainer that is gone (closed channel, other parent) must not leave a
 * child behind that goes on training while the job runs again elsewhere.
 */
import { messageOf } from "../../../shared/errors/errors.ts";
import { orderSchema, type Report, type Start } from "./protocol.ts";

export interface Channel {
  /** Resolves when the trainer's process has been handed the message. */
  report(report: Report): Promise<void>;
  /** Asks whether this attempt still owns the run. Resolves on yes; on no the trainer ends this process. */
  mayPublish(): Promise<void>;
  /** Fires on SIGTERM: end soon, or be killed. */
  readonly signal: AbortSignal;
}

const parentCheckMs = 1_000;

/** @param run is called once, with the order to start. When it has settled, the process ends. */
export function serveParent(run: (start: Start, channel: Channel) => Promise<void>): void {
  const orphaned = () => process.exit(1);
  process.once("disconnect", orphaned);
  if (!process.connected) orphaned(); // it went while our modules were loading
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) orphaned();
  }, parentCheckMs).unref();

  const stopping = new AbortController();
  process.once("SIGTERM", () => stopping.abort(new Error("stopped by the trainer")));
  // Ctrl-C goes to every process of the terminal's group; the trainer decides when its child ends.
  process.on("SIGINT", () => undefined);

  let permit: (() => void) | undefined;
  const channel: Channel = {
    report,
    mayPublish: async () => {
      const permitted = new Promise<void>((resolve) => {
        permit = resolve;
      });
      await report({ type: "may-publish" });
      await permitted;
    },
    signal: stopping.signal,
  };
  process.on("message", (message: unknown) => {
    const order = orderSchema.parse(message);
    if (order.type === "publish") {
      permit?.();
      return;
    }
    run(order, channel).then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${messageOf(error)}\n`);
        process.exit(1);
      },
    );
  });
}

function report(report: Report): Promise<void> {
  return new Promise((resolve, reject) => {
    if (process.send === undefined) throw new Error("the run child was not forked by a trainer");
    process.send(report, (error: Error | null) => (error === null ? resolve() : reject(error)));
  });
}
