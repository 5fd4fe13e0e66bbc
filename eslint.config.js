// Types do most of the checking; these rules are the ones that an event-driven system needs and types can't give.
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["node_modules/", "training_data/", "loras/", "runs/", ".everlora/"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { project: "./tsconfig.json", tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      // node:test's own functions return promises that the runner awaits.
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true, allowNullish: true }],
      "no-console": "error",
      "no-restricted-properties": ["error", { object: "process", property: "env", message: "Settings are parsed once in shared/config/settings.ts; take them as an argument." }],
    },
  },
  { files: ["shared/config/settings.ts", "test/**"], rules: { "no-restricted-properties": "off" } },
  // node:test's describe/it/test return promises that the runner itself awaits.
  { files: ["test/**/*.ts"], rules: { "@typescript-eslint/no-floating-promises": ["error", { allowForKnownSafeCalls: [{ from: "package", package: "node:test", name: ["test", "it", "describe", "suite", "before", "after", "beforeEach", "afterEach"] }] }] } },
);
