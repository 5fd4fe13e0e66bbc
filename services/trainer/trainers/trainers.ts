/** Which trainer fits a base model, by config.json's model_type. A new kind of model is a row here; its module is loaded only when it is used. */
import { supportedFamilies } from "../../../shared/models/families.ts";
import type { Trainer } from "./trainer.ts";

const causalLm = async (): Promise<Trainer> => (await import("./causal_lm.ts")).trainCausalLm;

export const trainers: Readonly<Record<string, () => Promise<Trainer>>> = Object.fromEntries(supportedFamilies.map((family) => [family, causalLm]));
