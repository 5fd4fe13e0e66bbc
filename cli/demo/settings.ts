/** The settings of the demo, in one place: what differs from the defaults, and why. They are printed at its start. */
import { loadSettings, type SettingName, type Settings } from "../../shared/config/settings.ts";

/** A tiny base model and a hundred conversations a domain: it learns fast, and needs larger steps than a real one. */
export const demoSettings = {
  COLLECT_INTERVAL: "1",
  MIN_EXAMPLES_PER_DOMAIN: "50",
  TRAINING_EPOCHS: "2",
  LEARNING_RATE: "6e-3",
  TRAINING_SEQUENCE_LENGTH: "512",
  TRAINING_BATCH_SIZE: "2",
  AUTO_TRAINING_INTERVAL: "0",
} as const satisfies Partial<Record<SettingName, string>>;

/** The demo is by itself: nothing of these may come from the environment. */
const own = {
  REDIS_URL: undefined,
  CACHE_REDIS_URL: undefined,
  EVERLORA_API_KEY: undefined,
  UPSTREAM_URL: undefined,
  UPSTREAM_API_KEY: undefined,
  UPSTREAM_MODEL: undefined,
  ENABLE_FINE_TUNING: "true",
  HOST: "127.0.0.1",
  GATEWAY_PORT: "0",
  COLLECTOR_PORT: "0",
  TRAINER_PORT: "0",
  CONTROL_PORT: "0",
} as const satisfies Partial<Record<SettingName, string | undefined>>;

/** @throws EverloraError invalid_settings */
export function settingsOfDemo(environment: Readonly<Record<string, string | undefined>>, folder: string): Settings {
  return loadSettings({ ...demoSettings, ...environment, ...own, DATA_DIR: folder });
}
