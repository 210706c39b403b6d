// A folder as a site, as any static host would serve it, cross-origin isolated.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".png": "image/png" };
const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

export class FolderSite {
  #folder;
  #server;

  /** @param {string} folder */
  constructor(folder) {
    this.#folder = folder;
    this.#server = createServer((request, response) => {
      this.#answer(new URL(request.url ?? "/", "http://localhost")).then(
        ({ body, type }) => response.writeHead(200, { ...ISOLATED, "content-type": type, "content-length": body.length }).end(body),
        (error) => response.writeHead(404).end(String(error)),
      );
    });
  }

  /** @returns {Promise<string>} its address */
  async open() {
    await new Promise((resolve) => { this.#server.listen(0, "127.0.0.1", () => resolve(null)); });
    return `http://localhost:${this.#server.address().port}/`;
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** @param {URL} address */
  async #answer({ pathname }) {
    const body = await readFile(join(this.#folder, decodeURIComponent(pathname)));
    return { body, type: TYPES[extname(pathname)] ?? "application/octet-stream" };
  }
}
