// What the page's scripts are held to beyond their types: rules that find faults, and the form that the code has.
// What the type check finds (a name that isn't there, a key that is there twice) isn't asked for again.

import { createRequire } from "node:module";

// beside the eslint that runs, wherever that is
const tools = createRequire(process.argv[1]);
const { parser, plugin: types } = tools("typescript-eslint");
const stylistic = tools("@stylistic/eslint-plugin");
const form = stylistic.default ?? stylistic;

const rules = {
  "array-callback-return": "error",
  "consistent-this": "error",
  eqeqeq: ["error", "always", { null: "ignore" }],
  "no-console": ["error", { allow: ["warn", "error"] }],
  "no-constant-binary-expression": "error",
  "no-control-regex": "error",
  "no-empty": "error",
  "no-eval": "error",
  "no-fallthrough": "error",
  "no-implied-eval": "error",
  "no-lonely-if": "error",
  "no-new-func": "error",
  "no-prototype-builtins": "error",
  "no-restricted-globals": ["error", "close", "closed", "event", "external", "find", "length", "name", "open", "print", "scroll", "status", "stop"],
  "no-self-compare": "error",
  "no-sequences": "error",
  "no-template-curly-in-string": "error",
  "no-unsafe-finally": "error",
  "no-unsafe-optional-chaining": "error",
  "no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_", destructuredArrayIgnorePattern: "^_", ignoreRestSiblings: true }],
  "no-useless-escape": "error",
  "no-useless-return": "error",
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": ["error", { destructuring: "all" }],
  "prefer-promise-reject-errors": "error",
  "prefer-rest-params": "error",
  "prefer-template": "error",
  radix: "error",
  "use-isnan": "error",
  "valid-typeof": "error",

  "form/arrow-parens": "error",
  "form/brace-style": ["error", "1tbs", { allowSingleLine: true }],
  "form/comma-dangle": ["error", "always-multiline"],
  "form/comma-spacing": "error",
  "form/eol-last": "error",
  "form/indent": ["error", 2, { SwitchCase: 1, ignoredNodes: ["ConditionalExpression", "TemplateLiteral"] }],
  "form/keyword-spacing": "error",
  "form/max-len": ["error", { code: 140, ignoreTemplateLiterals: true, ignoreStrings: true, ignoreRegExpLiterals: true }],
  "form/no-multiple-empty-lines": ["error", { max: 1, maxBOF: 0, maxEOF: 0 }],
  "form/no-tabs": "error",
  "form/no-trailing-spaces": "error",
  "form/object-curly-spacing": ["error", "always"],
  "form/quotes": ["error", "double", { avoidEscape: true }],
  "form/semi": "error",
  "form/space-before-blocks": "error",
  "form/space-infix-ops": "error",
};

/** What only those who know the types can tell. */
const typed = {
  "types/await-thenable": "error",
  "types/no-array-delete": "error",
  "types/no-for-in-array": "error",
  "types/no-misused-promises": ["error", { checksVoidReturn: false }],
  "types/only-throw-error": "error",
};

const plugins = { form, types };

export default [
  { ignores: ["web/too-old.js"] }, // for browsers of 2010
  {
    files: ["web/**/*.js", "api/**/*.js"],
    ignores: ["api/make.js"],
    plugins,
    languageOptions: { parser, parserOptions: { project: ["window", "worker", "service-worker"].map((kind) => `tests/page/${kind}.json`), tsconfigRootDir: process.cwd() } },
    rules: { ...rules, ...typed },
  },
  {
    // Elsewhere a promise may be left alone: whatever fails there unheard is shown (main.js) or told to the page (worker.js).
    files: ["web/service-worker.js", "web/thread.js", "web/library/**/*.js", "web/download/**/*.js"],
    rules: { "types/no-floating-promises": "error" },
  },
  { files: ["tests/page/**/*.js"], plugins, rules },
  { files: ["api/make.js"], plugins, rules: { ...rules, "no-console": "off" } },
];
