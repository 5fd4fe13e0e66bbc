/**
 * How the services' log lines (JSON, one a line) are shown: as they are, or compact for a person at a terminal.
 * Not responsible for which lines there are: the services keep to LOG_LEVEL.
 */
import { z } from "zod";
import type { Colour, Paint } from "./style.ts";

export type LogView = (service: string, line: string, from: "stdout" | "stderr") => void;

const lineSchema = z.looseObject({ level: z.string(), msg: z.string().optional(), time: z.string().optional() });
type Line = z.infer<typeof lineSchema>;

const levelColours: Readonly<Record<string, Colour>> = { fatal: "red", error: "red", warn: "yellow", info: "green" };
const serviceColours: Readonly<Record<string, Colour>> = { gateway: "cyan", collector: "blue", trainer: "magenta", control: "green" };
/** Shown elsewhere in the line, or the same in every line. */
const shownAlready = new Set(["level", "msg", "time", "service", "pid", "hostname", "stack"]);

/** Raw JSON lines; what is no JSON (a crash's stack) is wrapped, so that every line can be parsed. */
export function jsonView(write: (text: string) => void): LogView {
  return (service, line, from) => {
    if (parse(line) !== undefined) write(`${line}\n`);
    else write(`${JSON.stringify({ level: from === "stderr" ? "error" : "info", time: new Date().toISOString(), service, msg: line })}\n`);
  };
}

/** `12:03:04 info  gateway    message key=value`. */
export function prettyView(write: (text: string) => void, paint: Paint): LogView {
  return (service, text, from) => {
    const line = parse(text);
    const name = paint(service.padEnd(9), serviceColours[service] ?? "bold");
    if (line === undefined) {
      write(`${paint(clock(undefined), "dim")} ${paint((from === "stderr" ? "error" : "info").padEnd(5), from === "stderr" ? "red" : "green")} ${name} ${text}\n`);
      return;
    }
    const colour = levelColours[line.level];
    const level = paint(line.level.padEnd(5), ...(colour === undefined ? [] : [colour]));
    const fields = Object.entries(line).flatMap(([key, value]) => (shownAlready.has(key) || value === undefined ? [] : [`${key}=${short(value)}`]));
    const stack = typeof line["stack"] === "string" ? `\n${paint(line["stack"], "dim")}` : "";
    write(`${paint(clock(line.time), "dim")} ${level} ${name} ${line.msg ?? ""}${fields.length === 0 ? "" : ` ${paint(fields.join(" "), "dim")}`}${stack}\n`);
  };
}

function parse(text: string): Line | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    return lineSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function clock(time: string | undefined): string {
  const date = time === undefined ? new Date() : new Date(time);
  return Number.isNaN(date.getTime()) ? "--:--:--" : date.toTimeString().slice(0, 8);
}

function short(value: unknown): string {
  const text = typeof value === "string" && !/[\s"]/.test(value) ? value : JSON.stringify(value);
  return text.length > 300 ? `${text.slice(0, 299)}…` : text;
}
