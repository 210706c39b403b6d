// An adapter's trigger words, each a press away from the prompt.

/** @param {string[]} words @param {(word: string) => void} onPick @returns {HTMLButtonElement[]} */
export function triggerChips(words, onPick) {
  return words.map((word) => {
    const chip = Object.assign(document.createElement("button"), { type: "button", className: "chip", textContent: word, title: "Add to the prompt" });
    chip.addEventListener("click", () => onPick(word));
    return chip;
  });
}
