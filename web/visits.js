// Registers the service worker (web/service-worker.js), which lies beside the page, so that its scope
// is the whole of it.

const RELOADED = "lorakeet.isolated";

/**
 * Keeps the page for the next visit. Where its host sends no headers for cross-origin isolation, only
 * pages that the worker hands out have it: then the page loads itself anew, once, unless somebody is
 * using it already.
 */
export async function keepForNextVisit() {
  const { serviceWorker } = navigator;
  if (!serviceWorker || !isSecureContext) return;
  let touched = false;
  for (const type of ["pointerdown", "keydown", "drop", "input"]) {
    addEventListener(type, () => { touched = true; }, { once: true, capture: true });
  }
  try {
    // For the worker to know whether a newer one may take its place.
    addEventListener("beforeunload", () => serviceWorker.controller?.postMessage("leaving"));
    await serviceWorker.register(new URL("../service-worker.js", import.meta.url));
    // A page that is under a worker already has what it can give.
    if (serviceWorker.controller) return;
    await serviceWorker.ready;
    if (!crossOriginIsolated && !touched && once()) location.reload();
  } catch {
    // private windows, or a host that doesn't have the file: the page works without
  }
}

/**
 * Has the service worker keep a file that not everybody needs.
 * @param {string} path    beside the page
 */
export async function keepUsed(path) {
  const { serviceWorker } = navigator;
  if (!serviceWorker || !isSecureContext) return;
  const { active } = await serviceWorker.ready;
  active.postMessage({ used: path });
}

/** Whether this tab hasn't been loaded anew for it yet. Without a place to write it down, it has. */
function once() {
  try {
    if (sessionStorage.getItem(RELOADED)) return false;
    sessionStorage.setItem(RELOADED, "1");
    return true;
  } catch {
    return false;
  }
}
