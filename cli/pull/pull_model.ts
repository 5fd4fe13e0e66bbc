/** The download of a model as a person sees it: a bar on a terminal, nothing elsewhere. */
import { Presets, SingleBar } from "cli-progress";
import { pathsOf } from "../../shared/config/paths.ts";
import type { Settings } from "../../shared/config/settings.ts";
import type { ModelId } from "../../shared/hub/model_id.ts";

/** @returns the model's folder @throws EverloraError model_download_failed */
export async function pullModel(id: ModelId, settings: Pick<Settings, "DATA_DIR" | "BASE_MODEL" | "HUB_URL" | "HUB_TOKEN" | "HUB_OFFLINE">): Promise<string> {
  const bar = process.stderr.isTTY ? new SingleBar({ stream: process.stderr, hideCursor: true, clearOnComplete: true, format: "  {file} {bar} {percentage} % of {megabytes} MB", barsize: 30 }, Presets.shades_classic) : null;
  // The hub's client is large, and most that could pull have the model already.
  const { downloadModel } = await import("../../shared/hub/download.ts");
  let started = false;
  try {
    return await downloadModel(id, {
      models: pathsOf(settings).models,
      url: settings.HUB_URL.replace(/\/+$/, ""),
      token: settings.HUB_TOKEN,
      offline: settings.HUB_OFFLINE,
      onProgress: (done, total, file) => {
        const payload = { file: file.padEnd(34), megabytes: Math.round(total / 1e6) };
        if (started) bar?.update(done, payload);
        else bar?.start(total, done, payload);
        started = true;
      },
    });
  } finally {
    bar?.stop();
  }
}
