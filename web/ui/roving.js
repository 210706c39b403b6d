// One stop for the tab key in a row of many buttons; arrow keys go from one to the next (the toolbar pattern of the
// ARIA Authoring Practices Guide).

const BY = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };

/** @param {HTMLElement} row   buttons may come and go */
export function roving(row) {
  let current = null;
  const buttons = () => [...row.querySelectorAll("button")];
  const stopAt = (button) => {
    current = button;
    for (const one of buttons()) one.tabIndex = one === current ? 0 : -1;
  };
  /** Where it stops: where the focus is, else at what is chosen, else where it was last. */
  const settle = () => {
    const chosen = row.contains(document.activeElement) ? null : row.querySelector('[aria-pressed="true"]');
    stopAt(chosen ?? (row.contains(current) ? current : buttons()[0]));
  };
  new MutationObserver(settle).observe(row, { childList: true, subtree: true, attributeFilter: ["aria-pressed"] });
  row.addEventListener("focusin", ({ target }) => stopAt(/** @type {Element} */ (target).closest("button")));
  row.addEventListener("keydown", (event) => {
    const by = BY[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const usable = buttons().filter((button) => !button.disabled);
    const to = usable.indexOf(current) + by;
    usable[Math.min(usable.length - 1, Math.max(0, to))]?.focus();
  });
}
