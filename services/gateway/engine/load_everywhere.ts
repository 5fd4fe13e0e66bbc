/** Loads an adapter into every child that is up; whoever is down takes it in when it comes back, and nobody waits for that. */
import { toEverloraError, type EverloraError } from "../../../shared/errors/errors.ts";
import type { Replica } from "./replica.ts";
import type { Loaded } from "./residents.ts";

type Loader = Pick<Replica, "load" | "unload" | "holds"> & { readonly state: { readonly kind: string } };

/**
 * Resolves once at least one child holds it and every other that is ready does, too.
 * @param onDown tells when a child has died, until the function that it returns is called
 * @throws EverloraError what one of them failed with; then no child holds it
 */
export async function loadEverywhere(replicas: readonly Loader[], generation: string, folder: string, onDown: (listener: () => void) => () => void): Promise<Loaded> {
  return new Promise<Loaded>((resolve, reject) => {
    let loaded: Loaded | undefined;
    let over = false;
    const settle = (then: () => void) => {
      if (over) return;
      over = true;
      forget();
      then();
    };
    const check = () => {
      const all = loaded;
      if (all !== undefined && replicas.every((replica) => replica.state.kind !== "ready" || replica.holds(generation))) settle(() => resolve(all));
    };
    const forget = onDown(() => setImmediate(check)); // after the death has been dealt with
    const fail = (error: EverloraError) =>
      settle(() => {
        for (const replica of replicas) void replica.unload(generation);
        reject(error);
      });
    for (const replica of replicas)
      replica.load(generation, folder).then(
        (each) => {
          loaded ??= each;
          check();
        },
        (error: unknown) => {
          // Of a child that can't be started nothing is expected; the others decide.
          if (replica.state.kind === "ready" || replicas.every(({ state }) => state.kind !== "ready")) fail(toEverloraError(error));
          else check();
        },
      );
  });
}
