/** What the gateway needs of a server that runs base and adapters; vllm.ts and lorax.ts say how each does it. */
import type { Upstream } from "../upstream/upstream.ts";

/** The part of another server that the protocols use. */
export type Server = Pick<Upstream, "json" | "text">;

export interface StoredAdapter {
  /** `domain@generation`: never the same for other content. */
  readonly name: string;
  /** Where the server finds its folder. */
  readonly path: string;
}

export interface ServedBase {
  /** How the server calls its base. */
  readonly id: string;
  /** Positions, prompt and answer together; undefined when it doesn't say. */
  readonly contextLength: number | undefined;
}

export interface ServingProtocol {
  readonly kind: "vllm" | "lorax";
  /** @throws EverloraError when it can't be reached, or answers as another kind of server would */
  base(signal: AbortSignal): Promise<ServedBase>;
  /** Resolves when requests that name the adapter are answered by it; loading what is loaded already is harmless. @throws EverloraError */
  load(adapter: StoredAdapter, signal: AbortSignal): Promise<void>;
  /** Harmless when it isn't loaded. @throws EverloraError */
  unload(adapter: StoredAdapter, signal: AbortSignal): Promise<void>;
  /** Names of the adapters that it has; null for a server that loads them by itself when a request names one. @throws EverloraError */
  loaded(signal: AbortSignal): Promise<ReadonlySet<string> | null>;
  /** What a request must say to be answered by the adapter (null: the base). */
  address(adapter: StoredAdapter | null, base: ServedBase): { readonly model: string; readonly more: Readonly<Record<string, unknown>> };
}
