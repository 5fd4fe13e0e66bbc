/** The circuit breaker and the retries by themselves, with time given in. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Breaker, type BreakerState } from "../../services/gateway/upstream/breaker.ts";
import { AttemptFailure } from "../../services/gateway/upstream/failure.ts";
import { Retry } from "../../services/gateway/upstream/retry.ts";
import { EverloraError } from "../../shared/errors/errors.ts";

describe("the circuit breaker", () => {
  const make = () => {
    const clock = { now: 0 };
    const states: BreakerState[] = [];
    return { clock, states, breaker: new Breaker({ share: 0.5, least: 4, windowMs: 1_000, openMs: 100, longestMs: 400, now: () => clock.now, onChange: (state) => states.push(state) }) };
  };

  it("opens at its share of failures, lets one request try, and closes when that went well", () => {
    const { breaker, clock, states } = make();
    for (const outcome of ["ok", "failed", "ok", "failed"] as const) {
      assert.equal(breaker.enter(), 0);
      breaker.report(outcome);
    }
    assert.ok(breaker.enter() > 0);
    clock.now = 130;
    assert.equal(breaker.state, "half-open");
    assert.equal(breaker.enter(), 0);
    assert.ok(breaker.enter() > 0, "one at a time");
    breaker.report("ok");
    assert.deepEqual(states, ["open", "half-open", "closed"]);
    assert.equal(breaker.enter(), 0);
  });

  it("stays open longer with each trial that fails, and no trial is lost with a client that left", () => {
    const { breaker, clock } = make();
    for (let at = 0; at < 4; at++) breaker.report("failed");
    const rests: number[] = [];
    for (let trial = 0; trial < 4; trial++) {
      const rest = breaker.enter();
      rests.push(rest);
      clock.now += rest;
      assert.equal(breaker.enter(), 0);
      if (trial === 2) {
        breaker.report("unknown");
        assert.equal(breaker.enter(), 0, "somebody else may try");
      }
      breaker.report("failed");
    }
    const within = (rest: number | undefined, around: number) => assert.ok(rest !== undefined && rest >= around * 0.8 && rest <= around * 1.2, `${rest} about ${around}`);
    [100, 200, 400, 400].forEach((around, at) => within(rests[at], around));
  });

  it("says nothing about few requests, forgets old ones, and can be switched off", () => {
    const { breaker, clock } = make();
    for (let at = 0; at < 3; at++) breaker.report("failed");
    clock.now = 2_000;
    for (let at = 0; at < 3; at++) breaker.report("failed");
    assert.equal(breaker.enter(), 0);
    const never = new Breaker({ share: 0, least: 1 });
    for (let at = 0; at < 50; at++) never.report("failed");
    assert.equal(never.enter(), 0);
  });
});

describe("retries", () => {
  const failing = (traits: { again: boolean; afterMs?: number }, times: number) => {
    const state = { attempts: 0 };
    return {
      state,
      attempt: async () => {
        if (++state.attempts > times) return "done";
        throw new AttemptFailure(new EverloraError("upstream_error", `attempt ${state.attempts}`), { unwell: true, ...traits });
      },
    };
  };
  const run = (retry: Retry, attempt: () => Promise<string>, signal = new AbortController().signal) => retry.run(attempt, signal, () => undefined);

  it("come as often as allowed, for what may work later, and the last failure is told", async () => {
    const twice = failing({ again: true }, 2);
    assert.equal(await run(new Retry({ retries: 2, firstWaitMs: 1 }), twice.attempt), "done");
    const thrice = failing({ again: true }, 3);
    await assert.rejects(run(new Retry({ retries: 2, firstWaitMs: 1 }), thrice.attempt), { message: "attempt 3" });
    const never = failing({ again: false }, 1);
    await assert.rejects(run(new Retry({ retries: 2, firstWaitMs: 1 }), never.attempt), { message: "attempt 1" });
  });

  it("wait as the server says, unless that is too long for us", async () => {
    const started = performance.now();
    const soon = failing({ again: true, afterMs: 60 }, 1);
    assert.equal(await run(new Retry({ retries: 1, firstWaitMs: 1 }), soon.attempt), "done");
    assert.ok(performance.now() - started >= 55);
    const late = failing({ again: true, afterMs: 60_000 }, 1);
    await assert.rejects(run(new Retry({ retries: 1 }), late.attempt), { message: "attempt 1" });
    assert.equal(late.state.attempts, 1);
  });

  it("come out of a budget: a server that is down gets a tenth more at most, in the long run", async () => {
    const retry = new Retry({ retries: 1, firstWaitMs: 0 });
    const down = failing({ again: true }, Infinity);
    for (let at = 0; at < 300; at++) await run(retry, down.attempt).catch(() => undefined);
    assert.ok(down.state.attempts <= 300 + 20 + 30 + 1, `${down.state.attempts} attempts`);
    assert.ok(down.state.attempts >= 320);
  });

  it("end with the client", async () => {
    const leave = new AbortController();
    const waiting = run(new Retry({ retries: 1 }), failing({ again: true, afterMs: 4_000 }, 1).attempt, leave.signal);
    leave.abort();
    await assert.rejects(waiting, { code: "cancelled" });
  });
});
