// The keyboard's place on the page. Where what has the focus is taken away, hidden or switched off, the browser gives
// the focus to the document, from where a person has to tab through the whole page again. Here it goes to what is
// nearest: the same control made anew, the same one of the next item, or the part of the page that it was in, by name.

/** What has a name to be read out. */
const PLACES = "dialog, details, section[aria-labelledby], section[aria-label], [role][aria-labelledby], [role][aria-label]";
/** How many of those that had the focus before are known. */
const KNOWN = 8;

/** Keeps the focus from falling to the document. */
export class FocusKeeper {
  /** What has the focus as far as the person is concerned. @type {?HTMLElement} */
  #at = null;
  /** What had it before, the newest first. @type {HTMLElement[]} */
  #before = [];
  /** A control that is hidden or switched off for now, and where its focus went. @type {?{from: HTMLElement, to: HTMLElement}} */
  #owed = null;

  constructor() {
    document.addEventListener("focusin", ({ target }) => this.#came(target));
    document.addEventListener("focusout", ({ target, relatedTarget }) => {
      // a press beside everything is meant; of what is taken away the observer knows more
      if (!relatedTarget) queueMicrotask(() => this.#left(target));
    });
    const observer = new MutationObserver((changes) => this.#changed(changes));
    observer.observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["hidden", "disabled", "open"] });
  }

  #came(target) {
    if (target === this.#owed?.to) return;
    this.#owed = null;
    this.#at = target;
    this.#before = [target, ...this.#before.filter((other) => other !== target)].slice(0, KNOWN);
  }

  #left(target) {
    if (!isUsable(target) || (target !== this.#at && target !== this.#owed?.to)) return;
    this.#at = null;
    this.#owed = null;
  }

  /** @param {MutationRecord[]} changes */
  #changed(changes) {
    const { activeElement, body } = document;
    if (this.#owed && activeElement === this.#owed.to) {
      if (isUsable(this.#owed.from)) return this.#owed.from.focus({ preventScroll: true });
      if (isUsable(this.#owed.to)) return;
    }
    const lost = this.#at;
    if (!lost || isUsable(lost) || (activeElement && activeElement !== body && activeElement !== lost && isUsable(activeElement))) return;
    const to = lost.isConnected ? placeOf(lost) : nearest(lost, changes);
    this.#move(lost, to ?? this.#before.find(isUsable) ?? [...document.querySelectorAll("[role=tabpanel]")].find(isVisible));
  }

  #move(lost, to) {
    if (!to) return;
    if (!to.matches("a[href], button, input, select, textarea, summary, [tabindex]")) to.tabIndex = -1;
    this.#owed = lost.isConnected ? { from: lost, to } : null;
    to.focus({ preventScroll: true });
  }
}

function isVisible(element) {
  return element.isConnected && element.checkVisibility({ visibilityProperty: true });
}

function isUsable(element) {
  return isVisible(element) && !element.matches(":disabled");
}

/** What is nearest to an element that was taken away. @param {HTMLElement} lost @param {MutationRecord[]} changes */
function nearest(lost, changes) {
  for (const { target, removedNodes, nextSibling, previousSibling } of changes) {
    const index = [...removedNodes].findIndex((node) => node.contains(lost));
    if (index < 0 || !target.isConnected) continue;
    const isAlike = (other) => other.localName === lost.localName && other.className === lost.className && isUsable(other);
    const alike = (root) => [root, ...root.querySelectorAll(lost.localName)].filter(isAlike);
    const name = (element) => element.getAttribute("aria-label") ?? element.textContent;
    const again = alike(target).find((other) => name(other) === name(lost));
    if (again) return again;
    const items = /** @type {Node[]} */ ([.../** @type {Element} */ (target).children]);
    const next = items.indexOf(nextSibling);
    const at = next >= 0 ? next : previousSibling ? items.indexOf(previousSibling) + 1 : index;
    for (const item of [...items.slice(at), ...items.slice(0, at).reverse()]) {
      const found = alike(item)[0];
      if (found) return found;
    }
    return placeOf(target);
  }
  return null;
}

/** The part of the page that an element is in. @returns {?HTMLElement} */
function placeOf(element) {
  for (let place = element.closest(PLACES); place; place = place.parentElement?.closest(PLACES)) {
    if (place === element || !isVisible(place) || place.childElementCount === 0) continue;
    const summary = place.localName === "details" && place.querySelector("summary");
    if (summary === element) continue;
    return summary || place;
  }
  return null;
}
