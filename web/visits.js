// Registers the service worker (web/service-worker.js), which lies beside the page, so that its scope is the
// whole of it, and lets a new version in when a person wants it.

import { scriptAddress } from "./workers.js";

/** `cargo xtask build` writes true: sources that are served themselves are never kept. */
const BUILT = false;

const RELOADED = "lorakeet.isolated";

/** So long nothing is loaded that would be loaded again at once. */
const ISOLATION_MS = 4000;

/** A service worker of an older build doesn't know every question. */
const ANSWER_MS = 3000;

/** So long a line may take to bring all of the page. */
const FILLED_MS = 30 * 60 * 1000;

const SCRIPT = new URL("../service-worker.js", import.meta.url);

/** What starts with a build's name, as the service worker has it. */
const CACHES = /^lorakeet[- ]/;

export class Visits {
  #notice;
  #isBusy;
  /** @type {?ServiceWorkerRegistration} */
  #registration = null;
  /** Whether the person knows that other tabs are loaded anew too. */
  #agreed = false;
  #touched = false;
  /** Resolves when somebody uses the page. */
  #touch = new Promise((resolve) => {
    const touched = () => {
      this.#touched = true;
      resolve();
    };
    for (const type of ["pointerdown", "keydown", "drop", "input"]) addEventListener(type, touched, { once: true, capture: true });
  });

  /**
   * @param {import("./ui/version-notice.js").VersionNotice} notice
   * @param {() => boolean} isBusy    whether a reload would end something that is going on
   */
  constructor(notice, isBusy) {
    this.#notice = notice;
    this.#isBusy = isBusy;
  }

  /**
   * Registers the service worker. Where the host sends no headers for cross-origin isolation, only pages that the
   * service worker hands out have it: then the page loads itself anew, once, unless somebody is using it already.
   * Resolves when there is no sense in waiting for that before anything is loaded.
   */
  async begin() {
    if (!possible()) return;
    const registered = this.#register().catch(() => (BUILT ? this.#leaveIfGone() : null)).catch(() => {});
    if (!BUILT || crossOriginIsolated || navigator.serviceWorker.controller || reloaded()) return;
    const late = new Promise((resolve) => setTimeout(resolve, ISOLATION_MS));
    await Promise.race([registered, this.#touch, late]);
  }

  async #register() {
    const { serviceWorker } = navigator;
    if (!BUILT) return forget();
    const { controller } = serviceWorker;
    followVersion(this.#isBusy, () => {
      this.#notice.show("A new version was loaded in another tab. Load it here as soon as what is going on is done.", "Load it");
    });
    this.#registration = await serviceWorker.register(scriptAddress(SCRIPT));
    this.#watch();
    // looks for a new version at once, and whether there is one at all
    if (controller) return this.#registration.update();
    await serviceWorker.ready;
    if (!crossOriginIsolated && !this.#touched && once()) {
      location.reload();
      await new Promise(() => {});
    }
  }

  /**
   * The page has all that it needs to begin with: it can be kept for the next visit.
   * @returns {Promise<boolean>} whether it is, so that it opens without the network
   */
  async loaded() {
    if (!BUILT || !possible()) return false;
    const { active } = await navigator.serviceWorker.ready;
    return Boolean(await ask(active, "loaded", FILLED_MS));
  }

  /** Tells of a version that waits, now or later. */
  #watch() {
    const registration = this.#registration;
    this.#notice.addEventListener("accept", () => this.#accept());
    const tell = () => {
      if (registration.waiting && navigator.serviceWorker.controller) this.#notice.show("A new version of Lorakeet is here.", "Load it");
    };
    const follow = (worker) => worker?.addEventListener("statechange", tell);
    follow(registration.installing);
    registration.addEventListener("updatefound", () => follow(registration.installing));
    tell();
  }

  /** The person wants the new version, if nothing is going on. */
  async #accept() {
    const { waiting } = this.#registration;
    if (!waiting) return location.reload();
    if (this.#isBusy()) return this.#notice.show("A new version is here. Something is going on in this tab: load it when that is done, or pause it first.", "Load it");
    const others = await ask(navigator.serviceWorker.controller, "others");
    if (others?.busy) return this.#notice.show("A new version is here. Another tab of Lorakeet is at work: load it when that is done.", "Load it");
    if (others?.windows && !this.#agreed) {
      this.#agreed = true;
      const tabs = others.windows === 1 ? "another tab, which is" : `${others.windows} other tabs, which are`;
      return this.#notice.show(`A new version is here. Lorakeet is open in ${tabs} loaded anew too.`, "Load it in all");
    }
    waiting.postMessage("now");
  }

  /** Another project may live at this address by now: a page that is kept mustn't stand in its way for ever. */
  async #leaveIfGone() {
    const { status } = await fetch(SCRIPT, { cache: "no-store" });
    if (status !== 404 && status !== 410) return;
    await forget();
    if (!this.#touched) location.reload();
  }
}

/**
 * Has a document loaded anew when a new version takes over, and tells the service worker whether that would do harm.
 * @param {() => boolean} isBusy    whether something is going on that a reload would end
 * @param {() => void} onLate       it took over all the same
 */
export function followVersion(isBusy, onLate) {
  const { serviceWorker } = navigator;
  if (!serviceWorker?.controller) return;
  serviceWorker.addEventListener("message", ({ data, ports: [port] }) => {
    if (data === "busy?") port.postMessage(isBusy());
  });
  serviceWorker.addEventListener("controllerchange", () => (isBusy() ? onLate() : location.reload()));
}

/**
 * Has the service worker keep a file that not everybody needs.
 * @param {string} path    beside the page
 */
export async function keepUsed(path) {
  if (!BUILT || !possible()) return;
  const { active } = await navigator.serviceWorker.ready;
  active.postMessage({ used: path });
}

/** Takes away what a build has left here. */
async function forget() {
  const registration = await navigator.serviceWorker.getRegistration(new URL("./", SCRIPT));
  const worker = registration?.active ?? registration?.waiting ?? registration?.installing;
  if (worker?.scriptURL !== SCRIPT.href) return;
  for (const name of await caches.keys()) if (CACHES.test(name)) await caches.delete(name);
  await registration.unregister();
}

/** @returns {Promise<any>} null: no answer */
function ask(worker, question, patience = ANSWER_MS) {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => resolve(data);
    setTimeout(() => resolve(null), patience);
    worker.postMessage(question, [port2]);
  });
}

function possible() {
  return Boolean(navigator.serviceWorker) && isSecureContext;
}

/** Whether this tab has been loaded anew for it. Without a place to write it down, it has. */
function reloaded() {
  try {
    return sessionStorage.getItem(RELOADED) !== null;
  } catch {
    return true;
  }
}

/** Whether this tab may be loaded anew, which is written down. */
function once() {
  if (reloaded()) return false;
  sessionStorage.setItem(RELOADED, "1");
  return true;
}
