/**
 * The adapters that the engine child holds, or is about to: load, unload, and all of them again after the child was replaced.
 * Not responsible for: leases, or which of them answers (adapters/).
 */
import { randomUUID } from "node:crypto";
import { EverloraError } from "../../../shared/errors/errors.ts";
import type { FromChild, ToChild } from "./protocol.ts";
import { errorOf } from "./supervisor.ts";

export interface Loaded {
  readonly milliseconds: number;
  readonly bytes: number;
}

interface Resident {
  readonly generation: string;
  readonly folder: string;
  /** Settles with the first load; a reload in a new child never changes it. */
  readonly loaded: Promise<Loaded>;
  settle: { resolve(loaded: Loaded): void; reject(error: EverloraError): void } | undefined;
  /** Id of the load message in flight in this child. */
  pending: string | undefined;
}

export class Residents {
  readonly #send: (message: ToChild) => boolean;
  readonly #onLost: (generation: string, error: EverloraError) => void;
  readonly #all = new Map<string, Resident>();
  /** By message id, the unloads that the child has not answered. */
  readonly #unloading = new Map<string, { generation: string; resolve: () => void; done: Promise<void> }>();
  #childReady = false;
  #onSettled: (() => void) | undefined;

  constructor(send: (message: ToChild) => boolean, onLost: (generation: string, error: EverloraError) => void) {
    this.#send = send;
    this.#onLost = onLost;
  }

  /** False while a new child takes the old one's adapters back in. */
  get settled(): boolean {
    return this.#onSettled === undefined;
  }

  /** In this child now. */
  holds(generation: string): boolean {
    const resident = this.#all.get(generation);
    return this.#childReady && resident !== undefined && resident.pending === undefined && resident.settle === undefined;
  }

  /** In this child, or in it as soon as it can. */
  expects(generation: string): boolean {
    return this.#all.has(generation);
  }

  async load(generation: string, folder: string): Promise<Loaded> {
    const known = this.#all.get(generation);
    if (known !== undefined) return known.loaded;
    let settle: Resident["settle"];
    const loaded = new Promise<Loaded>((resolve, reject) => (settle = { resolve, reject }));
    const resident: Resident = { generation, folder, loaded, settle, pending: undefined };
    this.#all.set(generation, resident);
    const leaving = [...this.#unloading.values()].find((each) => each.generation === generation);
    if (leaving === undefined) this.#askNow(resident);
    // An aborted answer may hold it in the child a moment longer; asked before that, the child would take the load for done and then drop it.
    else void leaving.done.then(() => this.#askNow(resident));
    return loaded;
  }

  async unload(generation: string): Promise<void> {
    const resident = this.#all.get(generation);
    if (resident === undefined) return;
    this.#all.delete(generation);
    resident.settle?.reject(new EverloraError("cancelled", `Adapter ${generation} was unloaded before it was loaded.`));
    this.#checkSettled();
    if (!this.#childReady) return;
    const id = randomUUID();
    let resolve = () => {};
    const done = new Promise<void>((settle) => (resolve = settle));
    this.#unloading.set(id, { generation, resolve, done });
    if (!this.#send({ type: "unload", id, generation })) this.#unloaded(id);
    await done;
  }

  /** A new child is ready: asks it for every adapter. `then` runs when all of them are in, or at once when there is none. */
  restore(then: () => void): void {
    this.#childReady = true;
    for (const resident of this.#all.values()) this.#ask(resident);
    if (this.#all.size > 0) this.#onSettled = then;
  }

  childDied(hopeless: boolean): void {
    this.#childReady = false;
    this.#onSettled = undefined;
    for (const id of [...this.#unloading.keys()]) this.#unloaded(id);
    for (const resident of [...this.#all.values()]) {
      resident.pending = undefined;
      if (hopeless && resident.settle !== undefined) this.#fail(resident, new EverloraError("engine_unavailable", `The engine stopped while it loaded adapter ${resident.generation}.`));
    }
  }

  /** @returns true when the message was an answer to a load or unload */
  hear(message: FromChild): boolean {
    if (message.type === "unloaded") {
      this.#unloaded(message.id);
      return true;
    }
    if (message.type !== "loaded" && message.type !== "failed") return false;
    if (this.#unloading.has(message.id)) {
      this.#unloaded(message.id);
      return true;
    }
    const resident = [...this.#all.values()].find((each) => each.pending === message.id);
    if (resident === undefined) return message.type === "loaded";
    resident.pending = undefined;
    if (message.type === "failed") this.#fail(resident, errorOf(message.error));
    else {
      resident.settle?.resolve({ milliseconds: message.milliseconds, bytes: message.bytes });
      resident.settle = undefined;
    }
    this.#checkSettled();
    return true;
  }

  #askNow(resident: Resident): void {
    const wanted = this.#all.get(resident.generation) === resident && resident.pending === undefined && resident.settle !== undefined;
    if (this.#childReady && wanted) this.#ask(resident);
  }

  #ask(resident: Resident): void {
    resident.pending = randomUUID();
    this.#send({ type: "load", id: resident.pending, generation: resident.generation, folder: resident.folder });
  }

  #fail(resident: Resident, error: EverloraError): void {
    this.#all.delete(resident.generation);
    if (resident.settle === undefined) this.#onLost(resident.generation, error);
    else resident.settle.reject(error);
    resident.settle = undefined;
  }

  #unloaded(id: string): void {
    this.#unloading.get(id)?.resolve();
    this.#unloading.delete(id);
  }

  #checkSettled(): void {
    const then = this.#onSettled;
    if (then === undefined || [...this.#all.values()].some((resident) => resident.pending !== undefined)) return;
    this.#onSettled = undefined;
    then();
  }
}
