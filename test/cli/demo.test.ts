import assert from "node:assert/strict";
import { test } from "node:test";
import { readSamples } from "../../cli/demo/samples.ts";
import { settingsOfDemo } from "../../cli/demo/settings.ts";
import { viewOf } from "../../cli/demo/watch.ts";
import { pathsOf } from "../../shared/config/paths.ts";
import { loadSettings } from "../../shared/config/settings.ts";
import { conversationSchema } from "../../shared/events/conversation.ts";
import type { RunState } from "../../shared/runs/run.ts";

const { samples } = pathsOf(loadSettings({}));
const now = Date.UTC(2026, 0, 2);

test("the samples become conversations of an upstream, without the labels that would give them away", async () => {
  const conversations = await readSamples(samples, 17, now);
  assert.ok(conversations.length >= 500);
  for (const conversation of conversations) {
    assert.deepEqual(conversationSchema.parse(conversation), conversation);
    assert.equal(conversation.source, "upstream");
    assert.equal(conversation.answer.role, "assistant");
    assert.deepEqual(Object.keys(conversation).sort(), ["answer", "caller", "createdAt", "finishReason", "generation", "id", "messages", "model", "source", "version"].sort());
    assert.ok(conversation.createdAt <= now);
    assert.doesNotMatch(conversation.id, /technical|support|legal|medical|general/);
  }
  assert.equal(new Set(conversations.map(({ id }) => id)).size, conversations.length, "ids are unique");
  assert.ok(new Set(conversations.map(({ caller }) => caller)).size > 3, "several callers");
});

test("their order is mixed, and the same for the same seed", async () => {
  const words = async (seed: number) => (await readSamples(samples, seed, now)).map(({ messages, caller, createdAt }) => JSON.stringify([messages, caller, createdAt]));
  assert.deepEqual(await words(1), await words(1));
  assert.notDeepEqual(await words(1), await words(2));
});

test("the demo takes nothing from the environment that would make it touch something else", () => {
  const settings = settingsOfDemo({ REDIS_URL: "redis://busy:6379", UPSTREAM_URL: "https://paid/v1", UPSTREAM_MODEL: "m", EVERLORA_API_KEY: "0123456789abcdef", DATA_DIR: "/precious", GATEWAY_PORT: "8080", ENABLE_FINE_TUNING: "false", LEARNING_RATE: "0.5" }, "/tmp/demo");
  assert.equal(settings.REDIS_URL, undefined);
  assert.equal(settings.UPSTREAM_URL, undefined);
  assert.equal(settings.EVERLORA_API_KEY, undefined);
  assert.equal(settings.DATA_DIR, "/tmp/demo");
  assert.equal(settings.GATEWAY_PORT, 0);
  assert.equal(settings.ENABLE_FINE_TUNING, true);
  assert.equal(settings.LEARNING_RATE, 0.5, "but what it trains with can be chosen");
});

/** What collector and control would say of domains with these rows and runs. */
function view(domains: Record<string, { rows: number; dropped?: number; state?: RunState; job?: boolean }>, total: number) {
  const names = Object.entries(domains);
  return viewOf(
    { domains: names.map(([domain, { rows, dropped = 0 }]) => ({ domain, found: rows + dropped, rows: { total: rows, inWindow: rows }, needed: 50, dropped: {} })), scanner: { scanning: false, lastScan: { entries: total, faulty: 0 } } },
    { domains: names.map(([domain, { state, job }]) => ({ domain, live: null, lastRun: state === undefined ? null : { id: "run-x", state, progress: null, error: null }, job: job === true ? { state: "waiting" } : null })) },
    total,
  );
}

test("the watch ends when every domain with enough rows has a run that ended, and not before", () => {
  assert.equal(view({ legal: { rows: 60, state: "published" }, general: { rows: 10 } }, 80).finished, false, "conversations are missing");
  assert.equal(view({ legal: { rows: 60, dropped: 10, state: "published" }, general: { rows: 10 } }, 80).finished, true);
  assert.equal(view({ legal: { rows: 60 }, general: { rows: 20 } }, 80).finished, false, "no run yet");
  assert.equal(view({ legal: { rows: 60, state: "running" }, general: { rows: 20 } }, 80).finished, false);
  assert.equal(view({ legal: { rows: 60, state: "rejected" }, medical: { rows: 60, state: "failed" }, general: { rows: 20 } }, 140).finished, true);
});

test("a domain is shown as collecting, waiting, or with its run's state", () => {
  const states = view({ a: { rows: 1 }, b: { rows: 50, job: true }, c: { rows: 50, state: "running", job: true } }, 200).domains.map(({ state }) => state);
  assert.deepEqual(states, ["collecting", "waiting", "running"]);
});
