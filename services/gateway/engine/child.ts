/**
 * The engine child: the base model and its adapters in a process of their own, because a model step blocks the thread (shared/tensor/runtime.ts).
 * Wires the channel to the jobs; what the jobs do is in jobs.ts.
 */
import { pathsOf } from "../../../shared/config/paths.ts";
import { loadSettings } from "../../../shared/config/settings.ts";
import { Decoder } from "../../../shared/engine/decoder.ts";
import { openEmbedder } from "../../../shared/engine/embedder.ts";
import { openLanguageModel } from "../../../shared/engine/language_model.ts";
import { EverloraError, messageOf } from "../../../shared/errors/errors.ts";
import { chooseDevice } from "../../../shared/tensor/device.ts";
import { Jobs } from "./jobs.ts";
import { toChildSchema, type FromChild } from "./protocol.ts";
import { threadsFor } from "./threads.ts";
import { warmUp } from "./warm_up.ts";

function send(message: FromChild): void {
  // A closed channel means that the gateway is gone, and so are we in a moment.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}

async function main(): Promise<void> {
  process.once("disconnect", () => process.exit(0));
  // Ctrl-C reaches the whole process group; the gateway decides when the engine ends.
  process.on("SIGINT", () => undefined);
  const settings = loadSettings();
  const paths = pathsOf(settings);
  const device = threadsFor(chooseDevice(settings.COMPUTE_DEVICE, settings.COMPUTE_THREADS), settings.COMPUTE_THREADS, paths.baseModel);
  // Only here: training's operators are long, and its process leaves the cores to others while it waits.
  const spinning = { ...device, spin: true };
  const model = await openLanguageModel(paths.baseModel, paths.compiled, spinning, { quantization: settings.QUANTIZATION, use: "serving" });
  const embedder = settings.EMBEDDING_MODEL === undefined ? null : await openEmbedder(settings.EMBEDDING_MODEL, paths.compiled, spinning);
  const decoder = new Decoder(model, { prefixBytes: settings.ENGINE_PREFIX_MEMORY * 2 ** 20 });
  await warmUp(model, decoder, settings.LORA_RANK);
  const jobs = new Jobs({ model, decoder, embedder, send });
  process.on("message", (raw: unknown) => {
    const parsed = toChildSchema.safeParse(raw);
    if (parsed.success) jobs.accept(parsed.data);
    else send({ type: "fatal", error: { code: "internal_error", message: `The engine was sent a message that it does not know: ${parsed.error.message}`, hint: "Gateway and engine are of different versions." } });
  });
  const { name, sha256, config, parameters } = model.folder;
  send({ type: "ready", device: device.name, reason: device.reason, model: { name, sha256, contextLength: config.contextLength, parameters } });
}

main().catch((thrown: unknown) => {
  const error = thrown instanceof EverloraError ? thrown : new EverloraError("engine_failed", `The engine could not start: ${messageOf(thrown)}`, { cause: thrown });
  const { code, message, hint } = error;
  process.send?.({ type: "fatal", error: { code, message, hint } } satisfies FromChild, undefined, undefined, () => process.exit(1));
});
