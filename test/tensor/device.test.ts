/** Which device is chosen, and what is said where one does not start. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EverloraError } from "../../shared/errors/errors.ts";
import { chooseDevice, type Candidate, type Candidates } from "../../shared/tensor/device.ts";

const starts = (milliseconds: number): Candidate => ({ missing: () => null, product: () => milliseconds, hint: "-" });
const absent = (what: string): Candidate => ({
  missing: () => what,
  product: () => {
    throw new Error("it was started though something is missing");
  },
  hint: "get one",
});
const broken: Candidate = {
  missing: () => null,
  product: () => {
    throw new Error("/src/context.cc:136 Initialize() status == Success was false. No supported adapters\n");
  },
  hint: "install a driver",
};
const machine = (devices: Partial<Candidates>): Candidates => ({ cpu: starts(30), cuda: absent("no library"), webgpu: absent("no graphics device"), "tfjs-node-gpu": absent("not installed"), ...devices });

test("auto takes the processor where nothing else starts, and says why for each", () => {
  const { provider, threads, name, reason } = chooseDevice("auto", 3, machine({ webgpu: broken }));
  assert.deepEqual({ provider, threads, name }, { provider: "cpu", threads: 3, name: "cpu (3 threads)" });
  assert.equal(reason, "COMPUTE_DEVICE=auto; no cuda: no library; no webgpu: No supported adapters; no tfjs-node-gpu: not installed; COMPUTE_THREADS=3");
});

test("auto takes the first that starts and is faster than the processor", () => {
  const chosen = chooseDevice("auto", 1, machine({ webgpu: starts(2), "tfjs-node-gpu": starts(1) }));
  assert.equal(chosen.provider, "webgpu");
  assert.match(chosen.reason, /^COMPUTE_DEVICE=auto: it starts, and is faster than the processor; no cuda: no library$/);
});

test("auto leaves a driver in software alone", () => {
  const chosen = chooseDevice("auto", 1, machine({ webgpu: starts(900) }));
  assert.equal(chosen.provider, "cpu");
  assert.match(chosen.reason, /no webgpu: it multiplies matrices of 1024² in 900\.0 ms, the processor in 30\.0 ms/);
});

for (const [what, candidate, message, hint] of [
  ["is missing", absent("no library"), "COMPUTE_DEVICE=cuda: the device does not start: no library.", "get one"],
  ["does not start", broken, "COMPUTE_DEVICE=cuda: the device does not start: No supported adapters.", "install a driver"],
] as const) {
  test(`a device that was asked for and ${what} is an error, not another device`, () => {
    assert.throws(
      () => chooseDevice("cuda", 0, machine({ cuda: candidate, webgpu: starts(1) })),
      (error: unknown) => error instanceof EverloraError && error.code === "device_unavailable" && error.message === message && error.hint === hint,
    );
  });
}

test("a device that was asked for is taken, however slow", () => {
  assert.deepEqual(chooseDevice("webgpu", 2, machine({ webgpu: starts(900) })), { provider: "webgpu", threads: 2, name: "webgpu", reason: "COMPUTE_DEVICE=webgpu" });
});

test("what only seems to be missing is tried where it was asked for", () => {
  const seems: Candidate = { ...starts(1), missing: () => "no graphics device", guess: true };
  assert.equal(chooseDevice("webgpu", 1, machine({ webgpu: seems })).provider, "webgpu");
  assert.equal(chooseDevice("auto", 1, machine({ webgpu: seems })).provider, "cpu");
});

test("the processor of this machine starts", () => {
  assert.equal(chooseDevice("cpu", 1).reason, "COMPUTE_DEVICE=cpu; COMPUTE_THREADS=1");
  assert.match(chooseDevice("cpu", 0).reason, /one thread for each of \d+ cores/);
});

// Whatever this machine has: each device starts, or says what would mend it.
for (const provider of ["cuda", "webgpu", "tfjs-node-gpu"] as const) {
  test(`${provider} starts, or says what would mend it`, () => {
    try {
      assert.equal(chooseDevice(provider, 1).provider, provider);
    } catch (error) {
      assert.ok(error instanceof EverloraError, String(error));
      assert.equal(error.code, "device_unavailable");
      assert.match(error.message, new RegExp(`^COMPUTE_DEVICE=${provider}: the device does not start: .{10,}\\.$`));
      assert.match(error.hint, /COMPUTE_DEVICE=auto/);
    }
  });
}
