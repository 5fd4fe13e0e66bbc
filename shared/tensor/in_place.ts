/**
 * Runs of a graph that writes over its inputs (CompileOptions.inPlace). What a run is given is kept for the next: of a token's hundred arrays all but three are
 * those of the token before, and to hand each over anew took a twentieth of the step.
 */
import type { Frame } from "./compile_cache.ts";
import { arrayOf, sizeOf, type TypedArray } from "./graph.ts";
import type { Bindings, InPlaceSession, Value } from "./runtime.ts";
import { chosen, withRows, type Compiled, type Sized } from "./signature.ts";

/** What one run was given. */
interface Given {
  readonly bindings: Bindings;
  readonly arrays: (TypedArray | Sized | undefined)[];
  /** The outputs that it was to hand over. */
  readonly wanted: readonly number[];
}

/**
 * @param inPlace by output the input that it is written over
 * @param valueOf an input, looked at
 * @returns a run whose result has those of the wanted outputs that are not written over inputs; by default all of them
 */
export function inPlaceRun(session: InPlaceSession, inPlace: ReadonlyMap<number, number>, { outputs, outputNames, captured }: Frame, valueOf: (arrays: readonly (TypedArray | Sized)[], at: number) => Value): Compiled["run"] {
  const others = outputs.map((_, at) => at).filter((at) => !inPlace.has(at));
  const over = new Map([...inPlace].map(([output, input]) => [input, outputNames[output] ?? ""]));
  const [first = 0] = over.keys();
  // By the array that is written over first: what is kept goes when nobody else holds the cache.
  const kept = new WeakMap<TypedArray, Given>();

  const bound = (arrays: readonly (TypedArray | Sized)[], wanted: readonly number[]): Given => {
    const { values } = valueOf(arrays, first);
    const known = kept.get(values);
    if (known !== undefined && sameNumbers(known.wanted, wanted)) return known;
    const fresh: Given = { bindings: session.bind(), arrays: [], wanted };
    for (const [name, value] of Object.entries(captured)) fresh.bindings.setInput(name, value);
    kept.set(values, fresh);
    return fresh;
  };

  return async (arrays, wanted = others) => {
    const given = bound(arrays, wanted);
    for (let at = 0; at < arrays.length; at++) {
      const array = arrays[at];
      if (given.arrays[at] === array) continue;
      const value = valueOf(arrays, at);
      given.bindings.setInput(`input_${at}`, value);
      const written = over.get(at);
      if (written !== undefined) given.bindings.setOutput(written, value);
      given.arrays[at] = array;
    }
    const rows = valueOf(arrays, 0).shape[0] ?? 1;
    const made = wanted.flatMap((at) => {
      if (inPlace.has(at)) return [];
      const [output] = chosen(outputs, [at]);
      const shape = withRows(output?.shape ?? [], rows);
      const values = new arrayOf[output?.dtype ?? "float32"](sizeOf(shape));
      given.bindings.setOutput(outputNames[at] ?? "", { values, shape, dtype: output?.dtype ?? "float32" });
      return [values];
    });
    session.run(given.bindings);
    return made;
  };
}

const sameNumbers = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((one, at) => one === b[at]);
