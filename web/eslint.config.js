import js from "@eslint/js";
import ts from "typescript-eslint";

export default ts.config(
  { ignores: ["dist", "test/out", "wasm/*.ts"] },
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [...ts.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-non-null-assertion": "off", // noUncheckedIndexedAccess asks for them in loops over arrays
      eqeqeq: "error",
      "no-console": ["error", { allow: ["warn"] }],
    },
  },
  { files: ["test/*.test.ts"], rules: { "@typescript-eslint/no-floating-promises": "off" } },
  {
    files: ["*.mjs", "test/*.mjs", "wasm/*.mjs"],
    languageOptions: { globals: { console: "readonly", process: "readonly" } },
  },
);
