// The page's sources as a site, with what the build would make of Rust played by engine.js: web/ is served as it
// lies, so that the page, its worker and all between them are the real ones.

import { readFile, readdir } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = new URL("../../../", import.meta.url);
const HERE = new URL("./", import.meta.url);
const TYPES = {
  ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json", ".webmanifest": "application/manifest+json",
  ".png": "image/png", ".txt": "text/plain", ".wasm": "application/wasm",
};

/** Where the page looks for its module. */
const MODULE = 'export * from "./stage/engine.js";\nexport { default } from "./stage/engine.js";\n';

/** A module that imports a memory and does nothing: a header, and one import. (WebAssembly Core Specification, "Binary Format".) */
const WASM = Buffer.from([0, 97, 115, 109, 1, 0, 0, 0, 2, 9, 1, 1, 101, 1, 109, 2, 3, 1, 1]);

/**
 * What a script says at a point of the engine's work; nothing: it does what it always does. Told by `engine.js`:
 * `error` ({message, kind}; `short` of memory: JavaScript's own) is thrown, `panic` is a trap with these words, `lost`
 * ends the GPU; anything else is for that point.
 * @typedef {(details: any) => any} Play   it may take its time, and the engine waits for it
 */

export class Site {
  #server;
  /** By point. @type {Record<string, Play>} */
  plays;
  /** Points that were come to, in order. @type {string[]} */
  points = [];
  /** By path: what is served in a file's place. @type {Map<string, (text: string) => string>} */
  #changed = new Map();

  /** @param {Record<string, Play>} plays */
  constructor(plays) {
    this.plays = plays;
    this.#server = createServer((request, response) => {
      this.#answer(request).then(
        ({ body, type }) => response.writeHead(200, { "content-type": type, "content-length": body.length, "cache-control": "no-store" }).end(body),
        (error) => response.writeHead(error.code === "ENOENT" || error.code === "EISDIR" ? 404 : 500).end(String(error)),
      );
    });
  }

  /** @returns {Promise<string>} its address */
  async open() {
    await new Promise((resolve) => { this.#server.listen(0, "127.0.0.1", () => resolve(null)); });
    const { port } = this.#server.address();
    return `http://localhost:${port}/`;
  }

  /** @param {string} path from the page's folder @param {(text: string) => string} how */
  change(path, how) {
    this.#changed.set(`/${path}`, how);
  }

  /** Makes it a build, whose service worker keeps it, as `cargo xtask build` does (`xtask/src/version.rs`). */
  async build() {
    this.change("web/visits.js", (text) => text.replace("const BUILT = false;", "const BUILT = true;"));
    const inside = (await readdir(new URL("web/", ROOT), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const names = inside.map(({ parentPath, name }) => relative(fileURLToPath(ROOT), join(parentPath, name)));
    const files = {};
    for (const name of ["index.html", "lorakeet.js", "lorakeet_bg.wasm", ...names]) {
      const { body } = await this.#file(`/${name}`);
      files[name] = [body.length, sum(body)];
    }
    this.change("service-worker.js", (text) => text.replace("const FILES = null;", `const FILES = ${JSON.stringify(files)};`).replace("const HEADERS = null;", 'const HEADERS = { "": {} };'));
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** @param {import("node:http").IncomingMessage} request @returns {Promise<{body: Buffer, type: string}>} */
  async #answer(request) {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const path = pathname === "/" ? "/index.html" : decodeURIComponent(pathname);
    if (path === "/stage/play") return { body: Buffer.from(JSON.stringify(await this.#played(request))), type: TYPES[".json"] };
    if (path === "/stage/settings.json") return { body: await settings(), type: TYPES[".json"] };
    return this.#file(path);
  }

  /** @param {string} path @returns {Promise<{body: Buffer, type: string}>} */
  async #file(path) {
    if (path === "/lorakeet_bg.wasm") return { body: WASM, type: TYPES[".wasm"] };
    if (path === "/lorakeet.js") return { body: Buffer.from(MODULE), type: TYPES[".js"] };
    // nobody computes with them
    if (path.startsWith("/web/demo-model/model/") && path.endsWith(".safetensors")) return { body: Buffer.alloc(1000), type: "application/octet-stream" };
    // the build copies it beside the page
    const place = path === "/service-worker.js" ? `/web${path}` : path;
    const file = path.startsWith("/stage/") ? new URL(`.${path.slice(6)}`, HERE) : new URL(`.${place}`, ROOT);
    const type = TYPES[extname(file.pathname)] ?? "application/octet-stream";
    const body = await readFile(file);
    // the machine that the worker finds is the script's too
    if (path === "/web/worker.js") return { body: Buffer.concat([Buffer.from('import "/stage/machine.js";\n'), body]), type };
    const how = this.#changed.get(path);
    return { body: how ? Buffer.from(how(body.toString())) : body, type };
  }

  async #played(request) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const { point, ...details } = JSON.parse(Buffer.concat(pieces).toString());
    this.points.push(point);
    return await this.plays[point]?.(details) ?? {};
  }
}

/** FNV-1a, as web/service-worker.js has it. @param {Uint8Array} bytes */
function sum(bytes) {
  return bytes.reduce((state, byte) => Math.imul(state ^ byte, 16777619), 2166136261) >>> 0;
}

/** Every training setting with its default, as the README has them. (A native test holds them to the code.) */
async function settings() {
  const readme = await readFile(new URL("README.md", ROOT), "utf8");
  return Buffer.from(/```json\n(\{\n  "accumulation"[^`]*)```/.exec(readme)?.[1] ?? "");
}
