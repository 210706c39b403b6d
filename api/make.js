// Makes the npm package of a built page: what the engine needs of it, the layer that strangers call, its types.
//
//   node api/make.js DIST FOLDER TSC     DIST: the built page; FOLDER: where the package is laid out; TSC: TypeScript's script

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
/** What is asked for by name. */
const ENTRIES = ["api/index.js", "web/worker.js", "web/ui/lorakeet-two-up.js"];
/** What no script names in a way that is found: the module's parts, and what is fetched. */
const MORE = ["lorakeet_bg.wasm", "lorakeet_gpu.wasm", "web/clip-vocabulary/merges.txt", "web/clip-vocabulary/LICENSE"];
const OWN = ["LICENSE-MIT", "LICENSE-APACHE", "api/example/index.html"];
/** By what a module names another, for its code or its types. */
const NAMES = /(?:\bfrom |\bimport |\bimport\(|new URL\()"(\.[^"]+\.js)"/g;

const [dist, folder, tsc] = process.argv.slice(2);
if (!tsc) throw new Error("usage: node api/make.js DIST FOLDER TSC");

rmSync(folder, { recursive: true, force: true });
const modules = new Set();
for (const entry of ENTRIES) follow(entry);
for (const path of MORE) put(join(dist, path), path);
for (const path of OWN) put(join(ROOT, path), path);
write("package.json", `${JSON.stringify({ ...JSON.parse(own("api/package.json")), version: version() }, null, 2)}\n`);
types();
write("README.md", own("api/README.md").replace("<!-- sizes -->", sizes()));
console.log(sizes());

/** Takes a module along, and all that it names. @param {string} path */
function follow(path) {
  if (modules.has(path)) return;
  modules.add(path);
  const file = join(path.startsWith("api/") ? ROOT : dist, path);
  put(file, path);
  for (const [, name] of readFileSync(file, "utf8").matchAll(NAMES)) follow(join(dirname(path), name));
}

/** The declarations of what can be imported, and of what their types name. */
function types() {
  const settings = {
    compilerOptions: {
      allowJs: true, declaration: true, emitDeclarationOnly: true, skipDefaultLibCheck: true, strict: true, noImplicitAny: false,
      target: "ESNext", module: "ESNext", moduleResolution: "bundler", types: [], lib: ["ESNext", "DOM", "DOM.Iterable", "DOM.AsyncIterable"],
    },
    files: ["api/index.js", "web/ui/lorakeet-two-up.js"],
  };
  write("types.json", JSON.stringify(settings));
  execFileSync(process.execPath, [tsc, "--project", join(folder, "types.json")], { stdio: "inherit" });
  rmSync(join(folder, "types.json"));
  const element = "web/ui/lorakeet-two-up.d.ts";
  const known = "declare global {\n    interface HTMLElementTagNameMap {\n        \"lorakeet-two-up\": LorakeetTwoUp;\n    }\n}\n";
  write(element, readFileSync(join(folder, element), "utf8") + known);
}

/** What a visitor's browser loads, and what is installed, as README.md tells it. */
function sizes() {
  const lines = [
    ["the engine", [...modules].filter((path) => !path.includes("/ui/")).concat("lorakeet_bg.wasm")],
    ["besides, where there is a GPU", ["lorakeet_gpu.wasm"]],
    ["besides, with a model that brings no tokenizer (a checkpoint in one file)", ["web/clip-vocabulary/merges.txt"]],
    ["`lorakeet/two-up`", ["web/ui/lorakeet-two-up.js"]],
  ].map(([what, paths]) => `| ${what} | ${size(paths, (bytes) => bytes.length)} | ${size(paths, (bytes) => gzipSync(bytes, { level: 9 }).length)} |`);
  return ["| What a browser loads | bytes | gzipped |", "|---|---|---|", ...lines].join("\n");
}

/** @param {string[]} paths @param {(bytes: Buffer) => number} measure */
function size(paths, measure) {
  const bytes = paths.reduce((sum, path) => sum + measure(readFileSync(join(folder, path))), 0);
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
}

/** The crate's. */
function version() {
  const found = /^version = "([^"]+)"/m.exec(own("Cargo.toml"));
  if (!found) throw new Error("Cargo.toml has no version");
  return found[1];
}

/** @param {string} path */
function own(path) {
  return readFileSync(join(ROOT, path), "utf8");
}

/** @param {string} from @param {string} path */
function put(from, path) {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  cpSync(from, join(folder, path));
}

/** @param {string} path @param {string} text */
function write(path, text) {
  writeFileSync(join(folder, path), text);
}
