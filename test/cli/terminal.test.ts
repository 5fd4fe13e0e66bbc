import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonView, prettyView } from "../../cli/terminal/log_view.ts";
import { painter } from "../../cli/terminal/style.ts";
import { sideBySide, table, wrap } from "../../cli/terminal/table.ts";

test("a table aligns its columns, and a cell may hold several lines", () => {
  assert.deepEqual(
    table(
      [{ title: "name" }, { title: "n", align: "right" }, { title: "why" }],
      [
        ["ação", "7", "a\nb"],
        ["b", "12", ""],
      ],
    ),
    ["name   n  why", "────  ──  ───", "ação   7  a", "          b", "b     12"],
  );
});

test("text is wrapped at spaces, and what is longer than a line is cut", () => {
  assert.deepEqual(wrap("one two three\n\nabcdefghij k", 7), ["one two", "three", "", "abcdefg", "hij k"]);
});

test("two texts stand beside each other", () => {
  assert.deepEqual(sideBySide({ title: "base", text: "a b" }, { title: "adapter", text: "c" }, 8), ["base      │ adapter", "────      │ ───────", "a b       │ c"]);
});

function collect(view: (write: (text: string) => void) => ReturnType<typeof jsonView>) {
  const written: string[] = [];
  return { show: view((text) => written.push(text)), written };
}
const plain = painter({ isTTY: false });

test("a log line is shown with its level, service, message and fields", () => {
  const { show, written } = collect((write) => prettyView(write, plain));
  show("gateway", JSON.stringify({ level: "warn", time: "2026-01-02T03:04:05.000Z", service: "gateway", pid: 1, port: 80, hint: "try another", msg: "port taken" }), "stdout");
  assert.match(written[0] ?? "", /^\d\d:\d\d:05 warn  gateway   port taken port=80 hint="try another"\n$/);
});

test("a crash's stack is shown as it is, and in JSON as a line that can be parsed", () => {
  const pretty = collect((write) => prettyView(write, plain));
  pretty.show("trainer", "Error: boom", "stderr");
  assert.match(pretty.written[0] ?? "", /error trainer +Error: boom\n$/);
  const json = collect(jsonView);
  json.show("trainer", "Error: boom", "stderr");
  json.show("trainer", '{"level":"info","msg":"fine"}', "stdout");
  const [first = "", second] = json.written;
  const parsed = JSON.parse(first) as Record<string, unknown>;
  assert.deepEqual([parsed["level"], parsed["service"], parsed["msg"]], ["error", "trainer", "Error: boom"]);
  assert.equal(second, '{"level":"info","msg":"fine"}\n', "a line that is JSON stays as it is");
});

test("long fields are cut, and no colours are used where nobody sees them", () => {
  const { show, written } = collect((write) => prettyView(write, plain));
  show("control", JSON.stringify({ level: "info", msg: "m", big: "x".repeat(1_000) }), "stdout");
  assert.ok((written[0] ?? "").length < 400);
  assert.ok(!(written[0] ?? "").includes("\u001b"));
});
