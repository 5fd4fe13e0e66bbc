import assert from "node:assert/strict";
import { isAbsolute } from "node:path";
import { test } from "node:test";
import { environmentOf, loadSettings, printableSettings, settingsTable } from "../../shared/config/settings.ts";
import { EverloraError } from "../../shared/errors/errors.ts";

const refusal = (environment: Record<string, string>): EverloraError => {
  try {
    loadSettings(environment);
  } catch (error) {
    assert.ok(error instanceof EverloraError);
    assert.equal(error.code, "invalid_settings");
    return error;
  }
  return assert.fail(`accepted: ${JSON.stringify(environment)}`);
};

test("without any variable every setting has its default, and those that users know have the documented ones", () => {
  const settings = loadSettings({});
  const { ENABLE_FINE_TUNING, CACHE_TTL, MIN_EXAMPLES_PER_DOMAIN, TRAINING_DATA_DAYS, AUTO_TRAINING_INTERVAL, LORA_RANK, LORA_ALPHA, TRAINING_EPOCHS, LEARNING_RATE } = settings;
  assert.deepEqual([ENABLE_FINE_TUNING, CACHE_TTL, MIN_EXAMPLES_PER_DOMAIN, TRAINING_DATA_DAYS, AUTO_TRAINING_INTERVAL, LORA_RANK, LORA_ALPHA, TRAINING_EPOCHS, LEARNING_RATE], [true, 86_400, 50, 30, 7, 16, 32, 3, 1e-4]);
  assert.deepEqual(Object.keys(settings).sort(), Object.keys(settingsTable).sort());
  assert.ok(isAbsolute(settings.DATA_DIR));
});

test("empty and blank values count as not set", () => {
  const blank = Object.fromEntries(Object.keys(settingsTable).map((name, at) => [name, at % 2 === 0 ? "" : "  "]));
  assert.deepEqual(loadSettings(blank), loadSettings({}));
});

test("every setting that is out of range is reported at once, with its value and its bounds", () => {
  const bad = { LORA_RANK: "0", TRAINING_EPOCHS: "2.5", LEARNING_RATE: "fast", GATEWAY_PORT: "65536", ENABLE_FINE_TUNING: "maybe", LOG_LEVEL: "loud", CACHE_SIMILARITY: "1.01", UPSTREAM_URL: "ftp://host", TRAINING_SEED: "-1", COMPUTE_DEVICE: "gpu7", HELD_OUT_SHARE: "Infinity" };
  const { message } = refusal(bad);
  for (const [name, value] of Object.entries(bad)) assert.ok(message.includes(`${name}=${JSON.stringify(value)}: `), `${name} is missing in: ${message}`);
  assert.equal([...message.matchAll(/(?:^|; )[A-Z_]+=/g)].length, Object.keys(bad).length);
  assert.match(message, /LORA_RANK="0": .*>=1/);
  assert.match(message, /GATEWAY_PORT="65536": .*<=65535/);
  assert.match(message, /UPSTREAM_URL=.*http:\/\/ or https:\/\//);
});

test("each number's bounds are inclusive, and one step beyond is refused", () => {
  for (const [name, least, most, step] of [["LORA_RANK", 1, 256, 1], ["CACHE_SIMILARITY", 0, 1, 0.01], ["GATEWAY_PORT", 0, 65_535, 1], ["HELD_OUT_SHARE", 0.01, 0.5, 0.01]] as const) {
    for (const value of [least, most]) assert.equal(loadSettings({ [name]: String(value) })[name], value);
    for (const value of [least - step, most + step]) assert.match(refusal({ [name]: String(value) }).message, new RegExp(`^${name}=`));
  }
});

const secrets: Record<string, { good: string; bad: string; secret: string }> = {
  REDIS_URL: { good: "redis://:hunter2hunter2@localhost:6379", bad: "http://:hunter2hunter2@localhost", secret: "hunter2hunter2" },
  CACHE_REDIS_URL: { good: "rediss://u:hunter2hunter2@localhost", bad: "hunter2hunter2", secret: "hunter2hunter2" },
  EVERLORA_API_KEY: { good: "hunter2hunter2hunter2", bad: "hunter2", secret: "hunter2" },
  UPSTREAM_API_KEY: { good: "sk-hunter2", bad: "sk-hunter2 ação", secret: "hunter2" },
  SERVING_API_KEY: { good: "sv-hunter3", bad: "sv-hunter3 ação", secret: "hunter3" },
  CACHE_ADMIN_KEY: { good: "hunter4hunter4hunter4", bad: "hunter4", secret: "hunter4" },
  HUB_TOKEN: { good: "hf_hunter5", bad: "hf_hunter5 ação", secret: "hunter5" },
  UPSTREAM_URL: { good: "https://me:hunter2@host/v1/@x", bad: "https://me:hun/ter2@host", secret: "ter2" },
};

test("secrets are never printed, neither among the settings nor in a refusal", () => {
  assert.deepEqual(
    Object.entries(settingsTable).filter(([, row]) => "secret" in row && row.secret).map(([name]) => name).sort(),
    Object.keys(secrets).filter((name) => name !== "UPSTREAM_URL").sort(),
  );
  for (const [name, { good, bad, secret }] of Object.entries(secrets)) {
    const settings = loadSettings({ [name]: good });
    assert.ok(Object.values(settings).includes(good));
    assert.ok(!JSON.stringify(printableSettings(settings)).includes(secret), name);
    const error = refusal({ [name]: bad });
    assert.ok(error.message.includes(`${name}=`) && !JSON.stringify(error).includes(secret), error.message);
  }
});

test("what is printed of a URL without a password is the URL", () => {
  for (const url of ["https://host/v1", "http://localhost:1234/v1/@me?x=a@b"]) assert.equal(printableSettings(loadSettings({ UPSTREAM_URL: url }))["UPSTREAM_URL"], url);
  assert.equal(printableSettings(loadSettings({ UPSTREAM_URL: "https://me:hunter2@host/v1" }))["UPSTREAM_URL"], "https://***@host/v1");
});

test("a key that no HTTP header can carry is refused when it is set, not when it is used", () => {
  for (const value of ["sixteen characters with spaces", "chave-muito-secreta-ção", "0123456789abcdef\n"]) assert.match(refusal({ EVERLORA_API_KEY: value }).message, /printable ASCII/);
});

test("the environment for a child process gives the same settings again", () => {
  for (const environment of [{}, { ENABLE_FINE_TUNING: "no", LEARNING_RATE: "3e-7", REDIS_URL: "redis://:p@h:1", UPSTREAM_URL: "https://u:p@h/v1", DATA_DIR: "relative/folder", AUTO_TRAINING_INTERVAL: "0" }]) {
    const settings = loadSettings(environment);
    assert.deepEqual(loadSettings(environmentOf(settings)), settings);
  }
});
