/**
 * A process that runs tfjs-core's own specs (its package carries them) on our backend with jasmine, and sends what came of each. Every graph that runs on the way is
 * verified. A process of its own, because the specs reset tfjs's engine again and again.
 */
import { createRequire } from "node:module";
import { registerOnnxBackend } from "../../../shared/tensor/backend.ts";
import { verifyGraph } from "../../../shared/tensor/verify.ts";

export interface SpecResult {
  readonly name: string;
  readonly status: string;
  readonly message: string;
}

export interface SpecReport {
  readonly results: readonly SpecResult[];
  /** Sessions opened, and the kernels that tfjs's CPU backend computed. */
  readonly sessions: number;
  readonly handedOver: readonly string[];
}

interface Jasmine {
  getEnv(): {
    configure(options: { random: boolean }): void;
    addReporter(reporter: { specDone(result: { fullName: string; status: string; failedExpectations: { message: string }[] }): void }): void;
    execute(): Promise<unknown>;
  };
}

// The specs are CommonJS in effect: they name files without extension, and look for jasmine with require.
const require = createRequire(import.meta.url);
const jasmine = (require("jasmine-core") as { boot(reinitialize: boolean): Jasmine }).boot(true);
const environments = require("@tensorflow/tfjs-core/dist/jasmine_util.js") as { setTestEnvs(list: readonly object[]): void };
require("@tensorflow/tfjs");
const backend = registerOnnxBackend({ provider: "cpu", threads: 1 });
backend.inspect = verifyGraph;
environments.setTestEnvs([{ name: "onnx", backendName: "onnx", flags: {}, isDataSync: true }]);
require("@tensorflow/tfjs-core/dist/tests.js");

const results: SpecResult[] = [];
const environment = jasmine.getEnv();
environment.configure({ random: false });
environment.addReporter({
  specDone: ({ fullName, status, failedExpectations }) => results.push({ name: fullName.replace(/ onnx \{\}/g, ""), status, message: failedExpectations.map(({ message }) => message).join("\n").slice(0, 500) }),
});
await environment.execute();
const report: SpecReport = { results, sessions: backend.lazy.opened, handedOver: [...backend.handedOver.keys()].sort() };
process.send?.(report, () => process.disconnect?.());
