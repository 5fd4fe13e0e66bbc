/**
 * Runs of a graph that writes over its inputs (CompileOptions.inPlace). What a run is given is kept for the next: of a token's hundred arrays all but three are
 * those of the token before, and to hand each over anew took a tenth of a millisecond of a step of five.
 */
import type { Frame } from "./compile_cache.ts";
import { arrayOf, sizeOf, type TypedArray } from "./graph.ts";
import type { Bindings, InPlaceSession, Value } from "./runtime.ts";
import { chosen, isList, withRows, type Compiled, type Given, type Sized } from "./signature.ts";

/** What one run was given. */
interface Bound {
  readonly bindings: Bindings;
  /** Each with the number of its first input. */
  readonly given: { readonly each: Given; readonly at: number }[];
  /** The outputs that it was to hand over. */
  readonly wanted: readonly number[];
}

/**
 * @param inPlace by output the input that it is written over
 * @param valueOf an input, looked at
 * @param requireCount throws when so many inputs are not as many as there have to be
 * @returns a run whose result has those of the wanted outputs that are not written over inputs; by default all of them
 */
export function inPlaceRun(session: InPlaceSession, inPlace: ReadonlyMap<number, number>, { outputs, outputNames, captured }: Frame, valueOf: (array: TypedArray | Sized | undefined, at: number) => Value, requireCount: (count: number) => void): Compiled["run"] {
  const others = outputs.map((_, at) => at).filter((at) => !inPlace.has(at));
  const over = new Map([...inPlace].map(([output, input]) => [input, outputNames[output] ?? ""]));
  const [first = 0] = over.keys();
  // By the array that is written over first: what is kept goes when nobody else holds the cache.
  const kept = new WeakMap<TypedArray, Bound>();

  const boundTo = (cache: TypedArray, wanted: readonly number[]): Bound => {
    const known = kept.get(cache);
    if (known !== undefined && sameNumbers(known.wanted, wanted)) return known;
    const fresh: Bound = { bindings: session.bind(), given: [], wanted };
    for (const [name, value] of Object.entries(captured)) fresh.bindings.setInput(name, value);
    kept.set(cache, fresh);
    return fresh;
  };
  const bind = ({ bindings }: Bound, array: TypedArray | Sized, at: number) => {
    const value = valueOf(array, at);
    bindings.setInput(`input_${at}`, value);
    const written = over.get(at);
    if (written !== undefined) bindings.setOutput(written, value);
  };

  return async (given, wanted = others) => {
    const bound = boundTo(valueOf(inputAt(given, first), first).values, wanted);
    let at = 0;
    for (let place = 0; place < given.length; place++) {
      const each = given[place];
      if (each === undefined) break;
      const list = isList(each) ? each : null;
      const before = bound.given[place];
      if (before?.each !== each || before.at !== at) {
        if (list === null) bind(bound, each as TypedArray | Sized, at);
        else for (const [index, array] of list.entries()) bind(bound, array, at + index);
        bound.given[place] = { each, at };
      }
      at += list === null ? 1 : list.length;
    }
    requireCount(at);
    const rows = valueOf(inputAt(given, 0), 0).shape[0] ?? 1;
    const made = wanted.flatMap((output) => {
      if (inPlace.has(output)) return [];
      const [type] = chosen(outputs, [output]);
      const shape = withRows(type?.shape ?? [], rows);
      const values = new arrayOf[type?.dtype ?? "float32"](sizeOf(shape));
      bound.bindings.setOutput(outputNames[output] ?? "", { values, shape, dtype: type?.dtype ?? "float32" });
      return [values];
    });
    session.run(bound.bindings);
    return made;
  };
}

/** The n-th of the inputs, as they stand in lists and alone. */
function inputAt(given: readonly Given[], wanted: number): TypedArray | Sized | undefined {
  let at = 0;
  for (const each of given) {
    if (!isList(each)) {
      if (at === wanted) return each;
      at++;
    } else {
      if (wanted < at + each.length) return each[wanted - at];
      at += each.length;
    }
  }
  return undefined;
}

const sameNumbers = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((one, at) => one === b[at]);
