/** Which trainer fits a base model, by config.json's model_type. A new kind of model is a row here; its module is loaded only when it is used. */
import type { Trainer } from "./trainer.ts";

export const trainers: Readonly<Record<string, () => Promise<Trainer>>> = {
  llama: async () => (await import("./llama.ts")).trainLlama,
};
