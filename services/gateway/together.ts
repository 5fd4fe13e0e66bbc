/**
 * What is asked for within one turn of the event loop, done in one go: under load one write and one reply serve many requests, and alone nobody waits
 * for company.
 */
interface Waiting<In, Out> {
  readonly item: In;
  readonly resolve: (result: Out) => void;
  readonly reject: (error: unknown) => void;
}

export class Together<In, Out> {
  readonly #work: (items: readonly In[]) => Promise<readonly (Out | Error)[]>;
  #waiting: Waiting<In, Out>[] = [];

  /** @param work gives a result for each item, in order; an Error is thrown to the one who asked, and what it throws to all of them */
  constructor(work: (items: readonly In[]) => Promise<readonly (Out | Error)[]>) {
    this.#work = work;
  }

  do(item: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => void this.#run());
      this.#waiting.push({ item, resolve, reject });
    });
  }

  async #run(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    try {
      const results = await this.#work(waiting.map(({ item }) => item));
      waiting.forEach(({ resolve, reject }, at) => {
        const result = results[at];
        if (result === undefined && at >= results.length) reject(new Error("no result"));
        else if (result instanceof Error) reject(result);
        else resolve(result as Out);
      });
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}
