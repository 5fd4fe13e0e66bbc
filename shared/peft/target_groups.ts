/** Which linear layers get a new adapter: names, or names of groups, as a user writes them → PEFT's target_modules. */
import { EverloraError } from "../errors/errors.ts";
import type { ModelConfig } from "../models/config.ts";
import { projections } from "../models/layout.ts";

const groups: Readonly<Record<string, (path: string) => boolean>> = {
  "all-linear": () => true,
  attention: (path) => path.startsWith("self_attn."),
  mlp: (path) => path.startsWith("mlp."),
};

/** @throws EverloraError invalid_request that names the model's layers, when one has no such name */
export function targetsOf(wanted: readonly string[], config: ModelConfig): string[] {
  const paths = projections(config).map(([path]) => path);
  const nameOf = (path: string) => path.slice(path.lastIndexOf(".") + 1);
  for (const target of wanted) {
    if (Object.hasOwn(groups, target) || paths.some((path) => nameOf(path) === target)) continue;
    throw new EverloraError("invalid_request", `The base model has no linear layer ${JSON.stringify(target)}.`, { param: "LORA_TARGETS", hint: `Use ${Object.keys(groups).join(", ")}, or some of: ${paths.map(nameOf).join(", ")}.` });
  }
  return paths.filter((path) => wanted.some((target) => (Object.hasOwn(groups, target) ? groups[target]?.(path) === true : nameOf(path) === target))).map(nameOf);
}
