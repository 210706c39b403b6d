// One tab of the page: opened, used and looked at as a person would. Each has a browser context of its own, so that
// nothing is kept from one test to the next, and a site of its own, whose script only it plays.

import { after } from "node:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Chrome } from "./chrome.js";
import { Site } from "./site.js";

/** The browser, as cargo xtask found it. */
export const BROWSER = process.env.LORAKEET_CHROME;
/** Where pictures of every state go, if anybody wants them. */
const SHOTS = process.env.LORAKEET_SHOTS;
/** Nothing takes so long that works, on whatever machine. */
const PATIENCE_MS = 60_000;
const PHONE = 390;
const DESK = 1280;
/** Of the tab key: more than the page has. */
const MOST_STOPS = 120;
const CODES = {
  Tab: 9, Enter: 13, Escape: 27, PageUp: 33, PageDown: 34, End: 35, Home: 36, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40,
};

const GPU = { vendor: "example", architecture: "one" };
/** @type {?Chrome} */
let chrome = null;
/** Not closed yet. @type {Set<Site>} */
const sites = new Set();
const scratch = mkdtempSync(join(tmpdir(), "lorakeet-files-"));

after(async () => {
  for (const site of sites) site.close();
  await chrome?.close();
  rmSync(scratch, { recursive: true, force: true });
});

/** A file of the person's. @param {string} name @param {Uint8Array|string} contents @returns {string} its path */
export function file(name, contents) {
  const path = join(scratch, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
  return path;
}

/**
 * A safetensors file with these keys, each of one number.
 * @param {string[]} keys
 * @param {number} [mark] a number in it, so that its bytes are its own
 */
export function tensors(keys, mark = 0) {
  const header = Buffer.from(JSON.stringify(Object.fromEntries(keys.map((key, i) => [key, { dtype: "F32", shape: [1], data_offsets: [4 * i, 4 * i + 4] }]))));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const data = Buffer.alloc(4 * keys.length);
  data.writeFloatLE(mark);
  return Buffer.concat([length, header, data]);
}

export const adapter = (mark = 0) => tensors(["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"], mark);
export const checkpoint = (mark = 0) => tensors(["model.diffusion_model.input_blocks.0.0.weight"], mark);

/** Something that a script waits for until the test lets it. */
export function latch() {
  let open = () => {};
  const opened = new Promise((resolve) => { open = () => resolve({}); });
  return { open: () => open(), opened };
}

/** Long enough for what is told at most twenty times a second. */
export const pause = (ms = 80) => new Promise((resolve) => { setTimeout(resolve, ms); });

/**
 * Opens the page and waits until it is ready.
 * @param {object} [how]
 * @param {Record<string, import("./site.js").Play>} [how.plays]   what the engine says
 * @param {boolean|object} [how.gpu]      whether the machine has one
 * @param {string} [how.at]               what is added to the address
 * @param {string} [how.before]           a script that is run before the page's
 * @param {(site: Site) => void} [how.site]
 * @param {boolean} [how.ready]           false: as soon as it is there
 */
export async function open({ plays = {}, gpu = false, at = "", before = "", site: prepare, ready = true } = {}) {
  if (!BROWSER) throw new Error("LORAKEET_CHROME names no browser: run cargo xtask test --page");
  chrome ??= new Chrome(BROWSER);
  const site = new Site({ machine: () => ({ gpu: gpu === true ? GPU : gpu || null }), ...plays });
  sites.add(site);
  prepare?.(site);
  const address = await site.open();
  const { browserContextId } = await chrome.send("Target.createBrowserContext", { disposeOnDetach: true });
  const page = new Page(chrome, site, address, browserContextId);
  await page.tab();
  if (before) await page.devtools("Page.addScriptToEvaluateOnNewDocument", { source: before });
  await page.go(at);
  if (ready) await page.ready();
  return page;
}

export class Page {
  #chrome;
  #context;
  #session = "";
  site;
  address;
  /** What went to the console as an error. @type {string[]} */
  errors = [];

  constructor(browser, site, address, context) {
    this.#chrome = browser;
    this.site = site;
    this.address = address;
    this.#context = context;
  }

  get plays() { return this.site.plays; }

  devtools(method, params = {}) {
    return this.#chrome.send(method, params, this.#session);
  }

  /** Makes its tab. */
  async tab() {
    const { targetId } = await this.#chrome.send("Target.createTarget", { url: "about:blank", browserContextId: this.#context });
    const { sessionId } = await this.#chrome.send("Target.attachToTarget", { targetId, flatten: true });
    this.#session = sessionId;
    this.#chrome.listen(sessionId, (method, params) => {
      if (method === "Runtime.exceptionThrown") this.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
      if (method === "Page.javascriptDialogOpening") this.#dialog(params.type);
    });
    await Promise.all([this.devtools("Page.enable"), this.devtools("Runtime.enable")]);
    await this.look(DESK, "light");
  }

  /** @type {string[]} the browser's own questions; each is answered with yes */
  asked = [];

  #dialog(type) {
    this.asked.push(type);
    this.devtools("Page.handleJavaScriptDialog", { accept: true }).catch(() => {});
  }

  /** Another tab of the same browser, on the same site. */
  async another(at = "") {
    const other = new Page(this.#chrome, this.site, this.address, this.#context);
    await other.tab();
    await other.go(at);
    return other;
  }

  async go(at = "") {
    await this.devtools("Page.navigate", { url: "about:blank" });
    await this.devtools("Page.navigate", { url: this.address + at });
    await this.until("the page to load", () => document.readyState === "complete" && location.href !== "about:blank");
  }

  async reload() {
    await this.run(() => { document.documentElement.dataset.old = "1"; });
    await this.devtools("Page.reload");
    await this.until("the page to load anew", () => document.readyState === "complete" && !document.documentElement.dataset.old);
    await this.ready();
  }

  ready() {
    return this.until("the page to be ready", () => document.body.dataset.state === "ready");
  }

  /** It goes, with all that it kept. */
  async close() {
    this.site.close();
    sites.delete(this.site);
    await this.#chrome.send("Target.disposeBrowserContext", { browserContextId: this.#context });
  }

  // ---- asked of the document ---------------------------------------------------------------------

  /** @template T @param {(...values: any[]) => T} work run in the page @returns {Promise<Awaited<T>>} */
  async run(work, ...values) {
    const { result, exceptionDetails } = await this.devtools("Runtime.evaluate", {
      expression: `(${work})(...${JSON.stringify(values)})`, awaitPromise: true, returnByValue: true, userGesture: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** @param {string} what for whoever reads that it never came @param {(...values: any[]) => any} truth */
  async until(what, truth, ...values) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      // a document that goes away in the middle says no
      if (await this.run(truth, ...values).catch(() => false)) return;
      if (Date.now() > end) throw new Error(`waited for ${what}; the page says: ${await this.run(() => document.body.innerText).catch((error) => error.message)}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  /** @returns {Promise<string>} */
  text(selector) {
    return this.run((wanted) => document.querySelector(wanted).innerText.trim(), selector);
  }

  /** Waits until it says so. */
  says(selector, words) {
    return this.until(`“${words}” in ${selector}`, (wanted, sought) => document.querySelector(wanted)?.innerText.includes(sought), selector, words)
      .catch(async (error) => {
        throw new Error(`${selector} says “${await this.text(selector).catch(() => "nothing")}”; ${error.message}`);
      });
  }

  /** The messages on show, each in one line. @returns {Promise<string[]>} */
  messages() {
    return this.run(() => [...document.querySelectorAll(".message")].map((message) => [...message.querySelectorAll("strong, p")].map((one) => one.innerText).join(": ")));
  }

  /** Waits for a message with these words. @returns {Promise<string>} all of it */
  async message(words) {
    await this.says("#messages", words);
    return (await this.messages()).find((one) => one.includes(words)) ?? "";
  }

  // ---- done by a person --------------------------------------------------------------------------

  /** By the mouse, where it is; what lies over it is in the way. What moves away under the mouse is clicked again. */
  async click(selector) {
    const end = Date.now() + PATIENCE_MS;
    do {
      await this.until(`${selector} to be there`, (wanted) => document.querySelector(wanted)?.checkVisibility() && !document.querySelector(wanted).disabled, selector);
      const { x, y, over } = await this.run(whereAtRest, selector);
      if (over) throw new Error(`${selector} can't be clicked: ${over} is there`);
      for (const type of ["mousePressed", "mouseReleased"]) await this.devtools("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1 });
      // a document that is gone was clicked
      if (await this.run(() => document.documentElement.dataset.pressed !== "elsewhere").catch(() => true)) return;
    } while (Date.now() < end);
    throw new Error(`${selector} moves away under the mouse`);
  }

  /** @param {string} key as events name it @param {number} [modifiers] 1: Alt, 2: Ctrl, 8: Shift */
  async press(key, modifiers = 0) {
    const written = { Enter: "\r" }[key] ?? (key.length === 1 ? key : undefined);
    const text = modifiers & 3 ? undefined : written;
    // what the system's own keys would ask of a field
    const commands = key === "a" && modifiers === 2 ? ["selectAll"] : [];
    const windowsVirtualKeyCode = CODES[key] ?? key.toUpperCase().charCodeAt(0);
    await this.devtools("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", key, text, modifiers, windowsVirtualKeyCode, commands });
    await this.devtools("Input.dispatchKeyEvent", { type: "keyUp", key, modifiers, windowsVirtualKeyCode });
  }

  /** @param {string} words */
  async type(words) {
    for (const letter of words) await this.press(letter);
  }

  /** By the tab key alone. @param {string} selector @param {number} [modifiers] 8: backwards */
  async tabTo(selector, modifiers = 0) {
    const passed = [];
    for (let i = 0; i < MOST_STOPS; i += 1) {
      await this.press("Tab", modifiers);
      const { isThere, name, isSeen } = await this.run((wanted) => {
        const at = document.activeElement;
        const inside = at.shadowRoot?.activeElement ?? at;
        return { isThere: at.matches(wanted), name: at.id || at.className || at.tagName, isSeen: inside.matches(":focus-visible") && inside.checkVisibility() };
      }, selector);
      if (isThere && !isSeen) throw new Error(`${selector} has the focus, and nobody sees it`);
      if (isThere) return;
      passed.push(name);
    }
    throw new Error(`the tab key doesn't come to ${selector}: ${passed.join(", ")}`);
  }

  /** Types over what a field says. */
  set(selector, value) {
    return this.run((wanted, typed) => {
      const field = document.querySelector(wanted);
      field.value = typed;
      for (const type of ["input", "change"]) field.dispatchEvent(new Event(type, { bubbles: true }));
    }, selector, value);
  }

  /** Drags files onto the page. @param {string[]} files */
  async drop(...files) {
    const data = { items: [], files, dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) await this.devtools("Input.dispatchDragEvent", { type, x: 200, y: 300, data });
  }

  /** Draws what the form says. */
  async draw() {
    const before = await this.run(() => document.body.dataset.pictures);
    await this.click("#generate");
    await this.until("a picture", (old) => document.body.dataset.pictures !== old || document.querySelector("#status").textContent.startsWith("Drawn"), before);
  }

  /** The demo's eight pictures to train on, and settings that they come to. */
  async demoPictures() {
    await this.click("#pictures-demo");
    await this.until("eight pictures", () => document.body.dataset.pictures === "8" && document.body.dataset.train === "ready");
  }

  // ---- looked at ---------------------------------------------------------------------------------

  /** @param {number} width in points @param {"light"|"dark"} colours */
  async look(width, colours) {
    await this.devtools("Emulation.setDeviceMetricsOverride", { width, height: width > 600 ? 900 : 844, deviceScaleFactor: 1, mobile: false });
    await this.devtools("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: colours }, { name: "prefers-reduced-motion", value: "reduce" }] });
    // what is drawn by the page for its width follows in a frame
    await this.run(() => new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve))); }));
  }

  /**
   * That a state can be seen whole on a phone and at a desk: nothing reaches beyond the window, and no words are
   * cut off. With pictures of it, where they are wanted.
   * @param {string} name @param {string} [show] what has to be in view
   */
  async shows(name, show) {
    const wrong = [];
    for (const width of [PHONE, DESK]) {
      for (const colours of SHOTS ? ["light", "dark"] : ["light"]) {
        await this.look(width, colours);
        if (show) await this.run((wanted) => document.querySelector(wanted)?.scrollIntoView({ block: "center" }), show);
        wrong.push(...(await this.run(cutOff)).map((one) => `${width}: ${one}`));
        if (SHOTS) await this.#shot(`${name} ${width} ${colours}`);
      }
    }
    await this.look(DESK, "light");
    if (wrong.length > 0) throw new Error(`${name} is not to be seen whole: ${wrong.slice(0, 6).join("; ")}`);
  }

  async #shot(name) {
    const { data } = await this.devtools("Page.captureScreenshot", { format: "png" });
    mkdirSync(SHOTS, { recursive: true });
    writeFileSync(join(SHOTS, `${name.replaceAll(" ", "-")}.png`), Buffer.from(data, "base64"));
  }
}

/** Run in the page: what of it can't be seen whole. @returns {string[]} */
function cutOff() {
  const name = (element) => element.outerHTML.replace(/\s+/g, " ").slice(0, 100);
  const scrolls = (element) => {
    for (let box = element; box; box = box.parentElement) if (["auto", "scroll"].includes(getComputedStyle(box).overflowX) && box !== document.body) return true;
    return false;
  };
  const seen = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility() && !element.closest(".visually-hidden, svg, canvas"));
  const wide = seen.filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && !scrolls(element));
  // words in a box that is too small for them, where nothing says that they go on
  const clipped = seen.filter((element) => {
    const { overflowX, overflowY, textOverflow, display } = getComputedStyle(element);
    if (!element.textContent?.trim() || display === "inline" || element.matches("select, textarea, input, summary, .visually-hidden")) return false;
    const tight = (overflow, inside, outside) => ["hidden", "clip"].includes(overflow) && inside > outside + 1;
    return tight(overflowX, element.scrollWidth, element.clientWidth) && textOverflow !== "ellipsis" || tight(overflowY, element.scrollHeight, element.clientHeight);
  });
  const { scrollWidth } = document.scrollingElement;
  const scrollable = scrollWidth > innerWidth ? [`the page is ${scrollWidth} points wide in ${innerWidth}`] : [];
  return [...scrollable, ...wide.map((element) => `beyond the window: ${name(element)}`), ...clipped.map((element) => `cut off: ${name(element)}`)];
}

/**
 * Where an element lies once it lies still, and whether something else is over it. What is pressed next is noted on
 * the document. Run in the page.
 */
async function whereAtRest(wanted) {
  const frame = () => new Promise((resolve) => { setTimeout(resolve, 100); requestAnimationFrame(resolve); });
  const place = () => {
    const element = document.querySelector(wanted);
    element?.scrollIntoView({ block: "center" });
    const { left, top, width, height } = element?.getBoundingClientRect() ?? new DOMRect();
    return { element, x: left + width / 2, y: top + height / 2 };
  };
  let at = place();
  for (let more = 50; more > 0; more -= 1) {
    await frame();
    const before = at;
    at = place();
    if (at.element === before.element && at.x === before.x && at.y === before.y) break;
  }
  const { element, x, y } = at;
  if (!element) return { x, y, over: "nothing" };
  const there = document.elementFromPoint(x, y);
  const seen = document.documentElement.dataset;
  seen.pressed = "";
  addEventListener("pointerdown", ({ target }) => {
    seen.pressed = element.contains(target) || target.contains(element) ? "" : "elsewhere";
  }, { capture: true, once: true });
  return { x, y, over: there && (element.contains(there) || there.contains(element)) ? null : there?.outerHTML.slice(0, 120) ?? "nothing" };
}
