/**
 * The adapters of a batch's rows as inputs of one graph: for each projection A [B, r, in] and B transposed [B, r, out], each row its own. Ranks are
 * filled up with zeros to the greatest; a row without an adapter, or without one on that projection, has zeros. A row's part is written when its adapter
 * changes, not at each token.
 */
import type { ModelConfig } from "../models/config.ts";
import { jointly, wholes } from "../models/layout.ts";
import type { Sized } from "../tensor/compile.ts";
import type { Parameter } from "./step.ts";

export interface Projection {
  /** `model.layers.0.self_attn.o_proj`, or several of the same x as one: `model.layers.0.self_attn.qkv_proj` */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** How many projections it is: its A has as many times the adapter's rank. */
  readonly parts: number;
}

/** What a graph with adapters takes: A and B of each of its projections in turn, with their shapes. */
export interface AdapterInputs {
  readonly projections: readonly Projection[];
  readonly inputs: readonly Sized[];
}

/** An adapter of one rank, its scale folded into B: as it stands, the inputs of a single row. */
export interface RowAdapter extends AdapterInputs {
  readonly rank: number;
  /** By projection: A [r, in], and B transposed, [r, out]. */
  readonly values: ReadonlyMap<string, { readonly A: Float32Array; readonly B: Float32Array }>;
}

/** @param parameters A [r, in] and B [out, r] of each projection in turn, as `adapterParameters` gives them; null for none */
export function toRowAdapter(parameters: readonly Parameter[], config: ModelConfig): RowAdapter | null {
  if (parameters.length === 0) return null;
  const ranks = parameters.filter(({ name }) => name.endsWith(".A")).map(({ shape }) => shape[0] ?? 0);
  const rank = Math.max(...ranks);
  const found = new Map<string, Projection>();
  const values: Values = new Map();
  for (let at = 0; at + 1 < parameters.length; at += 2) {
    const [a, b] = [parameters[at], parameters[at + 1]];
    if (a === undefined || b === undefined || !a.name.endsWith(".A")) throw new RangeError("an adapter's tensors come in pairs");
    const name = a.name.slice(0, -2);
    const [own = 0, inputs = 0] = a.shape;
    const [outputs = 0] = b.shape;
    found.set(name, { name, inputs, outputs, parts: 1 });
    values.set(name, { A: own === rank ? a.values : padded(a.values, rank * inputs), B: transposed(b.values, outputs, own, rank) });
  }
  joinParts(found, values, rank, config);
  const projections = inOrder([...found.values()]);
  const inputs = projections.flatMap((projection) => {
    const { A, B } = values.get(projection.name) ?? {};
    if (A === undefined || B === undefined) throw new RangeError(`the adapter has nothing on ${projection.name}`);
    return sized(projection, 1, rank, A, B);
  });
  return { rank, projections, inputs, values };
}

/** Numbers of a joined B from which on its zeros cost more than the operators that it saves. */
const mostJoined = 1 << 17;

type Values = Map<string, { A: Float32Array; B: Float32Array }>;

/**
 * Projections of the same x become one: A below each other, B along a diagonal with zeros beside it. An operator costs more than the zeros: a layer has 20 of
 * the adapter's instead of 32.
 */
function joinParts(found: Map<string, Projection>, values: Values, rank: number, config: ModelConfig): void {
  if (config.fused) return; // they are one already
  for (let layer = 0; layer < config.layers; layer++) {
    for (const whole of wholes) {
      const prefix = `model.layers.${layer}.`;
      const parts = jointly[whole](config).map(([name, outputs]) => ({ name: `${prefix}${name}`, outputs }));
      const present = parts.filter(({ name }) => found.has(name));
      const [first] = present;
      const inputs = found.get(first?.name ?? "")?.inputs ?? 0;
      const outputs = parts.reduce((sum, part) => sum + part.outputs, 0);
      if (present.length < 2 || parts.length * rank * outputs > mostJoined) continue;
      const [A, B] = [new Float32Array(parts.length * rank * inputs), new Float32Array(parts.length * rank * outputs)];
      let from = 0;
      for (const [at, { name, outputs: width }] of parts.entries()) {
        const own = values.get(name);
        if (own !== undefined) A.set(own.A, at * rank * inputs);
        for (let row = 0; own !== undefined && row < rank; row++) B.set(own.B.subarray(row * width, (row + 1) * width), (at * rank + row) * outputs + from);
        from += width;
        found.delete(name);
        values.delete(name);
      }
      found.set(`${prefix}${whole}`, { name: `${prefix}${whole}`, inputs, outputs, parts: parts.length });
      values.set(`${prefix}${whole}`, { A, B });
    }
  }
}

function padded(values: Float32Array, length: number): Float32Array {
  const longer = new Float32Array(length);
  longer.set(values);
  return longer;
}

/** [out, r] → [rank, out], the rows from r on zero */
function transposed(values: Float32Array, outputs: number, own: number, rank: number): Float32Array {
  const turned = new Float32Array(rank * outputs);
  for (let out = 0; out < outputs; out++) for (let at = 0; at < own; at++) turned[at * outputs + out] = values[out * own + at] ?? 0;
  return turned;
}

/** The projections of several adapters together, in one order. */
function unionOf(adapters: Iterable<RowAdapter | null>): Projection[] {
  const all = new Map<string, Projection>();
  for (const adapter of adapters) for (const projection of adapter?.projections ?? []) all.set(projection.name, projection);
  return inOrder([...all.values()]);
}

const inOrder = (projections: readonly Projection[]) => [...projections].sort((a, b) => (a.name < b.name ? -1 : 1));

/** Bytes that stay where nobody needs them just now. */
const mostKept = 32 * 2 ** 20;

const none: AdapterInputs = { projections: [], inputs: [] };

export class AdapterRows {
  #projections: readonly Projection[] = [];
  #rank = 0;
  #room = 0;
  #arrays: Float32Array[] = [];
  /** What each row holds; undefined = whatever was there before. */
  #held: (RowAdapter | null | undefined)[] = [];
  /** What was made for the last rows: most steps have the same, and the same arrays need not be looked at again by who takes them. */
  #last: { readonly rows: readonly (RowAdapter | null)[]; readonly made: AdapterInputs } | null = null;

  /** @param rows the adapter of each row of the batch */
  of(rows: readonly (RowAdapter | null)[]): AdapterInputs {
    const [only = null] = rows;
    if (rows.every((adapter) => adapter === null)) return none;
    if (rows.length === 1 && only !== null) return only;
    const { rows: before, made } = this.#last ?? {};
    if (made !== undefined && before?.length === rows.length && before.every((adapter, row) => adapter === rows[row])) return made;
    const fresh = this.#make(rows);
    this.#last = { rows, made: fresh };
    return fresh;
  }

  #make(rows: readonly (RowAdapter | null)[]): AdapterInputs {
    const projections = unionOf(rows);
    const rank = Math.max(...rows.map((adapter) => adapter?.rank ?? 1));
    if (rank > this.#rank || rows.length > this.#room || !sameProjections(projections, this.#projections)) this.#allocate(rows.length, rank, projections);
    rows.forEach((adapter, row) => {
      if (this.#held[row] !== adapter) this.#write(row, adapter);
    });
    const part = (at: number, width: number) => (this.#arrays[at] ?? new Float32Array(0)).subarray(0, rows.length * this.#rank * width);
    return { projections, inputs: projections.flatMap((projection, at) => sized(projection, rows.length, this.#rank, part(2 * at, projection.parts * projection.inputs), part(2 * at + 1, projection.parts * projection.outputs))) };
  }

  /** Lets go of all adapters. Their arrays stay for others, unless they are large. */
  release(): void {
    this.#held = [];
    this.#last = null;
    if (this.#arrays.reduce((sum, { byteLength }) => sum + byteLength, 0) > mostKept) this.#clear();
  }

  #clear(): void {
    this.#arrays = [];
    this.#held = [];
    this.#last = null;
    this.#room = 0;
    this.#rank = 0;
    this.#projections = [];
  }

  #allocate(rows: number, rank: number, projections: readonly Projection[]): void {
    this.#clear();
    this.#room = 2 ** Math.ceil(Math.log2(rows));
    this.#rank = rank;
    this.#projections = projections;
    this.#arrays = projections.flatMap(({ inputs, outputs, parts }) => [new Float32Array(this.#room * parts * rank * inputs), new Float32Array(this.#room * parts * rank * outputs)]);
  }

  #write(row: number, adapter: RowAdapter | null): void {
    this.#projections.forEach(({ name, inputs, outputs, parts }, at) => {
      const values = adapter?.values.get(name);
      fillRow(this.#arrays[2 * at], row, parts * this.#rank * inputs, values?.A);
      fillRow(this.#arrays[2 * at + 1], row, parts * this.#rank * outputs, values?.B);
    });
    this.#held[row] = adapter;
  }
}

/** A [rows, parts · rank, in] and B [rows, parts · rank, out] of one projection. */
function sized({ inputs, outputs, parts }: Projection, rows: number, rank: number, A: Float32Array, B: Float32Array): Sized[] {
  return [
    { values: A, shape: [rows, parts * rank, inputs] },
    { values: B, shape: [rows, parts * rank, outputs] },
  ];
}

function fillRow(array: Float32Array | undefined, row: number, size: number, values: Float32Array | undefined): void {
  const filled = values?.length ?? 0;
  if (values !== undefined) array?.set(values, row * size);
  array?.fill(0, row * size + filled, (row + 1) * size);
}

const sameProjections = (a: readonly Projection[], b: readonly Projection[]) => a.length === b.length && a.every(({ name }, at) => name === b[at]?.name);
