/**
 * Runs graphs of lazy reads: one session per structure and shapes, values as inputs, results remembered for the nodes that they belong to.
 * Responsible for: sessions and their bound, values of leaves. Not responsible for: when to run, and what is live (backend.ts).
 */
import { createHash } from "node:crypto";
import { emit, type Emitted } from "./emit.ts";
import { arrayOf, given, sizeOf, type DType, type Node, type Shape, type Source, type TypedArray } from "./graph.ts";
import { readRegion } from "./region.ts";
import { openSyncSession, type Device, type SyncSession } from "./runtime.ts";

/** Shapes may vary without end; a session of a small graph takes some 100 kB. */
const maximumSessions = 256;
/** Below so many elements in all, a second thread costs more than it computes. */
const smallWork = 32_768;

export class LazyRunner {
  readonly #device: Device;
  /** By structure; the one used last is last. */
  readonly #sessions = new Map<string, SyncSession>();
  readonly #computed = new WeakMap<Node, Node>();
  readonly #mapped = new WeakMap<Source, TypedArray>();
  /** Sessions opened so far: grows with each new structure, and stops where a program repeats itself. */
  opened = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  /** The leaf that holds a node's values, if they were computed before. */
  computed(node: Node): Node | undefined {
    return this.#computed.get(node);
  }

  /** Computes nodes together, in one session. @throws Error when the graph depends on a compiled function's argument, or fails */
  run(nodes: readonly Node[]): void {
    const emitted = emit(nodes, [], { mode: "lazy", computed: (node) => this.#computed.get(node) });
    const feeds = Object.fromEntries(emitted.inputs.map(({ name, leaf: input }) => [name, { values: this.valuesOf(input), shape: input.shape, dtype: input.dtype }]));
    const results = this.#session(emitted).run(feeds, emitted.outputNames);
    nodes.forEach((node, at) => {
      const values = results[at];
      if (values === undefined || values.length !== sizeOf(node.shape)) throw new Error("the session returned another shape than was recorded");
      this.#computed.set(node, given(values, node.shape, node.dtype));
    });
  }

  /** What a leaf or a fill holds. */
  valuesOf({ source, shape, dtype, fill }: Node): TypedArray {
    if (source?.kind === "data") return source.values;
    if (source?.kind === "file") return this.#region(source, shape, dtype);
    if (fill !== undefined) return (new arrayOf[dtype](sizeOf(shape)) as Float32Array).fill(fill);
    throw new Error("a read reached an argument of a function that is being compiled: it has no values yet");
  }

  close(): void {
    for (const session of this.#sessions.values()) session.close();
    this.#sessions.clear();
  }

  #session(emitted: Emitted): SyncSession {
    const key = createHash("sha256").update(emitted.structure).digest("base64");
    const known = this.#sessions.get(key);
    this.#sessions.delete(key);
    const [oldest] = this.#sessions;
    if (known === undefined && this.#sessions.size >= maximumSessions && oldest !== undefined) {
      this.#sessions.delete(oldest[0]);
      oldest[1].close();
    }
    const session = known ?? openSyncSession(emitted.model, { ...this.#device, threads: emitted.elements < smallWork ? 1 : this.#device.threads });
    if (known === undefined) this.opened++;
    this.#sessions.set(key, session);
    return session;
  }

  /** Weights that a compiled graph would map: a lazy read takes the part that it needs. */
  #region(source: Source & { readonly kind: "file" }, shape: Shape, dtype: DType): TypedArray {
    const values = this.#mapped.get(source) ?? readRegion(source, shape, dtype);
    this.#mapped.set(source, values);
    return values;
  }
}
