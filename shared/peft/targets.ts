/**
 * Which modules of a base an adapter lies on, and with which rank and scale, as PEFT decides it (huggingface/peft: check_target_module_exists,
 * get_pattern_key). Expressions come from strangers' files, so they run in RE2, whose time is linear in the text; what only Python's dialect has is
 * refused.
 */
import { RE2JS } from "re2js";
import { EverloraError, messageOf } from "../errors/errors.ts";
import type { ModelConfig } from "../models/config.ts";
import { projections } from "../models/layout.ts";
import { loraScale, type PeftConfig } from "./config.ts";

export interface LoraModule {
  /** `model.layers.0.self_attn.q_proj` */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

export interface TargetedModule extends LoraModule {
  readonly rank: number;
  readonly scale: number;
}

/** All linear layers of a model's blocks, layer by layer: the embedding and the head carry no adapter here. */
function linearLayers(config: ModelConfig): LoraModule[] {
  const each = projections(config);
  return Array.from({ length: config.layers }, (_, layer) => each.map(([name, [outputs, inputs]]) => ({ name: `model.layers.${layer}.${name}`, inputs, outputs }))).flat();
}

/** The modules of a model whose name, or the last part of it, is one of `targets`, layer by layer. */
export function modulesOf(config: ModelConfig, targets: readonly string[]): LoraModule[] {
  return linearLayers(config).filter(({ name }) => endsWithAny(name, targets));
}

/** The names that PEFT's target_modules would have: q_proj, k_proj, … */
export function allTargets(config: ModelConfig): string[] {
  return projections(config).map(([name]) => name.slice(name.lastIndexOf(".") + 1));
}

/**
 * The modules that a PEFT config means, in the order of the model, each with the rank and scale that its patterns give it.
 * @throws EverloraError adapter_incompatible when it means none, or something that cannot carry an adapter here
 */
export function targetedModules(peft: PeftConfig, model: ModelConfig): TargetedModule[] {
  const matches = matcher(peft);
  const other = ["lm_head", "model.embed_tokens"].find(matches);
  if (other !== undefined) throw incompatible(`target_modules cover ${other}; adapters on the embedding and on the head are not supported`);
  const modules = linearLayers(model).filter(({ name }) => matches(name));
  if (modules.length === 0) throw incompatible(`target_modules ${JSON.stringify(peft.target_modules)} name no projection of the base model`);
  const rankOf = patternValue(peft.rank_pattern, peft.r);
  const alphaOf = patternValue(peft.alpha_pattern, peft.lora_alpha);
  return modules.map((module) => {
    const rank = rankOf(module.name);
    return { ...module, rank, scale: loraScale(rank, alphaOf(module.name), peft.use_rslora === true) };
  });
}

function matcher(peft: PeftConfig): (name: string) => boolean {
  const excluded = peft.exclude_modules ?? [];
  const excludes = typeof excluded === "string" ? expression(excluded) : (name: string) => endsWithAny(name, excluded);
  const targets = peft.target_modules;
  if (typeof targets === "string") {
    const layers = peft.layers_to_transform;
    if (layers != null) throw incompatible("layers_to_transform together with an expression for target_modules is not supported, nor is it by PEFT");
    const includes = targets.toLowerCase() === "all-linear" ? (name: string) => name.startsWith("model.layers.") : expression(targets);
    return (name) => includes(name) && !excludes(name);
  }
  const chosen = layerChooser(peft);
  return (name) => endsWithAny(name, targets) && (targets.includes(name) || chosen(name)) && !excludes(name);
}

/** Our modules are all called `model.layers.<index>.…`, so that a pattern matters only by whether it is `layers`. */
function layerChooser({ layers_to_transform: chosen, layers_pattern: pattern }: PeftConfig): (name: string) => boolean {
  if (chosen == null || (Array.isArray(chosen) && chosen.length === 0)) return () => true;
  const indexes = [chosen].flat();
  const patterns = [pattern ?? []].flat();
  const expressions = patterns.length === 0 ? [compileExpression("(?:.*?)\\.[^.]*\\.(\\d+)\\..*")] : patterns.map((part) => compileExpression(`(?:.*?\\.)?(?:${part})\\.(\\d+)\\..*`));
  return (name) => {
    for (const one of expressions) {
      const found = one.matcher(name);
      if (found.matches()) return indexes.includes(Number(found.group(1)));
    }
    return false;
  };
}

const endsWithAny = (name: string, ends: readonly string[]) => ends.some((end) => name === end || name.endsWith(`.${end}`));

/** The value of the first key that is, as an expression, the end of a module's name. */
function patternValue(pattern: Readonly<Record<string, number>> | null | undefined, otherwise: number): (name: string) => number {
  const entries = Object.entries(pattern ?? {}).map(([key, value]) => ({ matches: expression(`(?:.*\\.)?(?:${key})`), value }));
  return (name) => entries.find(({ matches }) => matches(name))?.value ?? otherwise;
}

/** The whole name has to match, as in Python's re.fullmatch. */
function expression(source: string): (name: string) => boolean {
  const compiled = compileExpression(source);
  return (name) => compiled.matches(name);
}

function compileExpression(source: string): RE2JS {
  try {
    return RE2JS.compile(source);
  } catch (error) {
    throw incompatible(`the expression ${JSON.stringify(source.slice(0, 200))} is not supported: ${messageOf(error)}`);
  }
}

const incompatible = (message: string) => new EverloraError("adapter_incompatible", message);
