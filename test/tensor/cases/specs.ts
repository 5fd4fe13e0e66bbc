/**
 * The specs of tfjs-core that do not pass on our backend, each with its reason. A spec that is here and passes is a fault of this table. Specs that need a browser are not
 * defined under Node at all.
 */
export interface LeftOut {
  /** What jasmine says of it: it fails here, or tfjs-core itself marks it as not to be run (xit). */
  readonly status: "failed" | "pending";
  readonly reason: string;
}

export const specsLeftOut: Readonly<Record<string, LeftOut>> = {
  "debug on A x B": { status: "pending", reason: "xit in debug_mode_test.js" },
  "IS_BROWSER isBrowser: true": { status: "pending", reason: "xit in flags_test.js" },
  "IS_BROWSER isBrowser: false": { status: "pending", reason: "xit in flags_test.js" },
  "kernel_registry errors when registering the same kernel twice": { status: "pending", reason: "xit in kernel_registry_test.js" },
  "gradient registry warning when registering the same gradient twice": { status: "pending", reason: "xit in kernel_registry_test.js" },
};
