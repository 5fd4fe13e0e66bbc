/**
 * Which rows a run trains on when it goes on from the live adapter: all that are new to that adapter, and a share of those that it knows, so that it
 * doesn't forget them (experience replay: Rolnick et al. 2019). Only rows of the run's own snapshot: what was erased since never comes back.
 */
import { createRandom } from "../../../shared/models/random.ts";

export interface Selection<R> {
  readonly rows: readonly R[];
  readonly fresh: number;
  readonly replayed: number;
}

/**
 * @param known ids of the rows that the live adapter was trained on; null when that is not known any more, then all rows count as new
 * @param share of the known rows that are repeated; where no row is new, all of them are: there would be nothing to learn from
 */
export function selectRows<R extends { readonly id: string }>(rows: readonly R[], known: ReadonlySet<string> | null, share: number, seed: number): Selection<R> {
  const old = rows.filter(({ id }) => known?.has(id) === true);
  const fresh = rows.length - old.length;
  const wanted = fresh === 0 ? old.length : Math.round(share * old.length);
  const repeated = new Set(createRandom(seed).shuffle(old).slice(0, wanted));
  // In the snapshot's order, so that the order says nothing about what is old.
  return { rows: rows.filter((row) => known?.has(row.id) !== true || repeated.has(row)), fresh, replayed: wanted };
}
