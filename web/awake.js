// Keeps the screen on while a long job runs, where the browser can: a phone that sleeps computes nothing.

let wanted = false;
let lock = null;
let asking = false;

export function stayAwake(on) {
  wanted = on;
  update();
}

async function update() {
  if (asking) return; // it looks again when that is answered: of two locks one would stay
  if (!wanted) {
    lock?.release();
    lock = null;
  } else if (!lock && document.visibilityState === "visible") {
    asking = true;
    lock = await navigator.wakeLock?.request("screen").catch(() => null) ?? null;
    asking = false;
    lock?.addEventListener("release", () => { lock = null; });
    if (!wanted) update();
  }
}

// the browser lets go of it when the tab is hidden
document.addEventListener("visibilitychange", update);
