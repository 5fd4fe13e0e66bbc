/** The specs of tfjs-core that do not pass on our backend, each with its reason. A spec that is here and passes is a fault of this table. */
export const specExceptions: Readonly<Record<string, string>> = {
  "exp int32": "ONNX Runtime's exp of 10 is one unit in the last place beside the nearest float32 (22026.467 for 22026.465); the spec allows an absolute 1e-3, half a unit there",
  "tan numbers exceed float32 precision": "ONNX Runtime's tan beside a pole is one unit in the last place off (30144.178 for 30144.176); the spec allows an absolute 1e-3, half a unit there",
};

/** Those that tfjs-core itself marks as not to be run (xit), on any backend. Specs that need a browser are not defined under Node at all. */
export const specsSkippedByTfjs: Readonly<Record<string, string>> = {
  "debug on A x B": "xit in debug_mode_test.js",
  "IS_BROWSER isBrowser: true": "xit in flags_test.js",
  "IS_BROWSER isBrowser: false": "xit in flags_test.js",
  "kernel_registry errors when registering the same kernel twice": "xit in kernel_registry_test.js",
  "gradient registry warning when registering the same gradient twice": "xit in kernel_registry_test.js",
};
