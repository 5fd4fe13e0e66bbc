/** The shelf of loaded adapters: leases, retirement and the byte budget, without a gateway around it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Shelf } from "../../services/gateway/adapters/shelf.ts";
import { silentLogger } from "../../shared/log/log.ts";

function shelf(budgetBytes: number, sizes: Readonly<Record<string, number>> = {}) {
  const log: string[] = [];
  const state = { leases: 0, bytes: 0 };
  const made = new Shelf({
    load: async (_domain, generation) => {
      log.push(`load ${generation}`);
      if (generation === "bad") throw new Error("bad");
      return { milliseconds: 1, bytes: sizes[generation] ?? 100 };
    },
    unload: async (generation) => void log.push(`unload ${generation}`),
    budgetBytes,
    onChange: (now) => void Object.assign(state, now),
    log: silentLogger,
  });
  return { shelf: made, log, state };
}

describe("the shelf", () => {
  it("lets the least recently used go beyond the budget, and loads it again", async () => {
    const { shelf: made, log, state } = shelf(250);
    for (const generation of ["a", "b"]) (await made.acquire("d", generation)).lease.release();
    made.lease("d", "a")?.release(); // used later than b
    (await made.acquire("d", "c")).lease.release();
    assert.deepEqual(log, ["load a", "load b", "load c", "unload b"]);
    assert.equal(made.lease("d", "b"), undefined);
    (await made.acquire("d", "b")).lease.release();
    assert.deepEqual(log.slice(4), ["load b", "unload a"]);
    assert.deepEqual(state, { leases: 0, bytes: 200 });
  });

  it("never lets go what is held, and catches up when it is given back", async () => {
    const { shelf: made, log, state } = shelf(100);
    const leases = await Promise.all(["a", "b", "c"].map((generation) => made.acquire("d", generation)));
    assert.deepEqual([log.filter((line) => line.startsWith("unload")), state.bytes, state.leases], [[], 300, 3]);
    for (const { lease } of leases) lease.release();
    leases[0]?.lease.release(); // twice does nothing
    assert.deepEqual([state.bytes, state.leases], [100, 0]);
  });

  it("frees a retired one with its last lease, whatever the budget, and takes it back in when asked", async () => {
    const { shelf: made, log } = shelf(10_000);
    const first = (await made.acquire("d", "a")).lease;
    const second = made.lease("d", "a");
    assert.ok(made.retire("d", "a"));
    first.release();
    assert.deepEqual(log, ["load a"]);
    second?.release();
    assert.deepEqual(log, ["load a", "unload a"]);
    assert.ok(!made.retire("d", "a"));
    const back = (await made.acquire("d", "a")).lease;
    made.retire("d", "a");
    (await made.acquire("d", "a")).lease.release(); // wanted again while it was still held
    back.release();
    assert.deepEqual(log, ["load a", "unload a", "load a"]);
  });

  it("content that stands under two domains lies in memory once, and stays while one of them is wanted", async () => {
    const { shelf: made, log, state } = shelf(10_000);
    (await made.acquire("one", "a")).lease.release();
    (await made.acquire("two", "a")).lease.release();
    assert.equal(state.bytes, 100);
    made.retire("one", "a");
    assert.ok(!log.includes("unload a"));
    made.retire("two", "a");
    assert.ok(log.includes("unload a"));
  });

  it("forgets a load that failed, and tries again", async () => {
    const { shelf: made, log, state } = shelf(100);
    await Promise.all([assert.rejects(made.acquire("d", "bad")), assert.rejects(made.acquire("d", "bad"))]);
    await assert.rejects(made.acquire("d", "bad"));
    assert.deepEqual([log, state.leases], [["load bad", "load bad"], 0]);
  });
});
