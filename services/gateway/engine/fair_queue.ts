/**
 * A bounded queue that is fair between callers: they take turns, so that one caller's hundred requests don't come before another's first. When it is
 * full, the caller with the most waiting gives up its newest place to one with fewer.
 */
export interface Waiting {
  readonly caller: string;
}

export class FairQueue<T extends Waiting> {
  /** By caller, in order of their next turn; never an empty line. */
  readonly #lines = new Map<string, T[]>();
  /** Given back by a worker that failed: before everybody, in order. */
  #first: T[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(item: T): void {
    const line = this.#lines.get(item.caller);
    if (line === undefined) this.#lines.set(item.caller, [item]);
    else line.push(item);
    this.#size++;
  }

  /** Back to the front, in the order in which they were taken. */
  unshift(items: readonly T[]): void {
    this.#first = [...items, ...this.#first];
    this.#size += items.length;
  }

  /** The next whose turn it is and that may be taken now; its caller goes to the back. */
  take(may: (item: T) => boolean): T | undefined {
    const again = this.#first.findIndex(may);
    if (again >= 0) {
      this.#size--;
      return this.#first.splice(again, 1)[0];
    }
    for (const [caller, line] of this.#lines) {
      const at = line.findIndex(may);
      if (at < 0) continue;
      const [item] = line.splice(at, 1);
      this.#lines.delete(caller);
      if (line.length > 0) this.#lines.set(caller, line);
      this.#size--;
      return item;
    }
    return undefined;
  }

  remove(item: T): boolean {
    const at = this.#first.indexOf(item);
    const line = this.#lines.get(item.caller);
    const place = line?.indexOf(item) ?? -1;
    if (at >= 0) this.#first.splice(at, 1);
    else if (line === undefined || place < 0) return false;
    else {
      line.splice(place, 1);
      if (line.length === 0) this.#lines.delete(item.caller);
    }
    this.#size--;
    return true;
  }

  /** Everything, in no particular order; the queue is empty afterwards. */
  drain(): T[] {
    const all = [...this.#first, ...[...this.#lines.values()].flat()];
    this.#first = [];
    this.#lines.clear();
    this.#size = 0;
    return all;
  }

  /** Makes room for a newcomer: takes out the newest of the caller with the most waiting, if that is at least two more than the newcomer's caller has. */
  yieldTo(caller: string): T | undefined {
    const own = this.#lines.get(caller)?.length ?? 0;
    let longest: T[] | undefined;
    for (const line of this.#lines.values()) if (line.length > (longest?.length ?? 0)) longest = line;
    if (longest === undefined || longest.length < own + 2) return undefined;
    const item = longest.at(-1);
    if (item !== undefined) this.remove(item);
    return item;
  }

  /** True when others wait, too, and this caller has more waiting than each of them. */
  isGreedy(caller: string): boolean {
    const own = this.#lines.get(caller)?.length ?? 0;
    return this.#lines.size > 1 && [...this.#lines].every(([other, line]) => other === caller || line.length < own);
  }
}
