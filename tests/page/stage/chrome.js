// Headless Chromium, driven over a pipe by its own protocol: nothing to install beside the browser itself.
// (https://chromedevtools.github.io/devtools-protocol)

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** As the tests through WebDriver start it. */
const SETTINGS = new URL("../../../webdriver.json", import.meta.url);
const END = "\0";

export class Chrome {
  #process;
  #profile;
  #lastId = 0;
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void, method: string}>} */
  #open = new Map();
  /** By session: who hears its events. @type {Map<string, (method: string, params: any) => void>} */
  #heard = new Map();

  /** @param {string} program */
  constructor(program) {
    this.#profile = mkdtempSync(join(tmpdir(), "lorakeet-page-"));
    const { args } = JSON.parse(readFileSync(SETTINGS, "utf8"))["goog:chromeOptions"];
    const own = ["--remote-debugging-pipe", `--user-data-dir=${this.#profile}`, "--disable-gpu", "--mute-audio"];
    this.#process = spawn(program, [...args, ...own, "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    let rest = "";
    this.#output.setEncoding("utf8").on("data", (text) => {
      const messages = (rest + text).split(END);
      rest = messages.pop() ?? "";
      for (const message of messages) this.#receive(JSON.parse(message));
    });
    const gone = () => {
      for (const { reject, method } of this.#open.values()) reject(new Error(`${method}: the browser is gone`));
      this.#open.clear();
    };
    this.#process.on("exit", gone).on("error", gone);
  }

  get #input() { return this.#process.stdio[3]; }

  get #output() { return this.#process.stdio[4]; }

  /** @param {string} method @param {object} [params] @param {string} [sessionId] @returns {Promise<any>} */
  send(method, params = {}, sessionId) {
    const id = ++this.#lastId;
    this.#input.write(JSON.stringify({ id, method, params, sessionId }) + END);
    return new Promise((resolve, reject) => { this.#open.set(id, { resolve, reject, method }); });
  }

  /** @param {(method: string, params: any) => void} hear */
  listen(sessionId, hear) {
    this.#heard.set(sessionId, hear);
  }

  async close() {
    const ended = new Promise((resolve) => { this.#process.once("exit", resolve); });
    // it waits for its own processes; one that doesn't is ended
    this.send("Browser.close").catch(() => this.#process.kill());
    await ended;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 20 });
  }

  #receive({ id, result, error, method, params, sessionId }) {
    if (id === undefined) return this.#heard.get(sessionId)?.(method, params);
    const asked = this.#open.get(id);
    this.#open.delete(id);
    if (error) asked?.reject(new Error(`${asked.method}: ${error.message}`));
    else asked?.resolve(result);
  }
}
