// The dialogs that ask: before something is lost, which of several is meant, and how an adapter is exported.

/** @returns {Promise<boolean>} whether the answer is yes */
export async function confirmed(title, text, yes) {
  const dialog = document.querySelector("#confirm-dialog");
  // one question at a time
  while (dialog.open) await closed(dialog);
  document.querySelector("#confirm-heading").textContent = title;
  document.querySelector("#confirm-text").textContent = text;
  document.querySelector("#confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  await closed(dialog);
  return dialog.returnValue === "yes";
}

/**
 * @param {{title: string, text: string, options: {label: string, detail: string}[], several: boolean, yes: string}} question
 * @returns {Promise<number[]>} which are wanted
 */
export async function chosen({ title, text, options, several, yes }) {
  const dialog = document.querySelector("#choice-dialog");
  while (dialog.open) await closed(dialog);
  document.querySelector("#choice-heading").textContent = title;
  document.querySelector("#choice-text").textContent = text;
  document.querySelector("#choice-yes").textContent = yes;
  const list = document.querySelector("#choice-options");
  list.replaceChildren(...options.map(({ label, detail }, index) => {
    const line = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: several ? "checkbox" : "radio", name: "choice", value: index, checked: !several && index === 0 });
    const name = Object.assign(document.createElement("span"), { textContent: label });
    line.append(input, name, Object.assign(document.createElement("small"), { textContent: detail }));
    return line;
  }));
  dialog.returnValue = "";
  dialog.showModal();
  await closed(dialog);
  if (dialog.returnValue !== "yes") return [];
  return [...list.querySelectorAll("input")].filter(({ checked }) => checked).map(({ value }) => Number(value));
}

function closed(dialog) {
  return new Promise((resolve) => { dialog.addEventListener("close", resolve, { once: true }); });
}

/** Events: "export" {step, format, half, title, thumbnail: ?string}. */
export class ExportDialog extends EventTarget {
  #dialog = document.querySelector("#export-dialog");
  #form = document.querySelector("#export-form");
  #button = document.querySelector("#export-download");
  #problem = document.querySelector("#export-problem");
  #step = 0;
  #thumbnail = null;

  constructor() {
    super();
    this.#button.addEventListener("click", () => {
      if (!this.#form.reportValidity()) return;
      /** @type {Record<string, any>} */
      const { format, half, title, thumbnail } = Object.fromEntries(new FormData(this.#form));
      this.dispatchEvent(new CustomEvent("export", {
        detail: { step: this.#step, format, half: Boolean(half), title: title.trim(), thumbnail: thumbnail ? this.#thumbnail : null },
      }));
    });
    // Enter in the title is a wish to have it, not to close
    this.#form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target instanceof HTMLButtonElement) return;
      event.preventDefault();
      this.#button.click();
    });
  }

  /** @param {{step: number, steps: number, title: string, thumbnail: ?string}} what thumbnail: a data URL */
  open({ step, steps, title, thumbnail }) {
    this.#step = step;
    this.#thumbnail = thumbnail;
    document.querySelector("#export-step").textContent = `The adapter as it was at step ${step} of ${steps}.`;
    document.querySelector("#export-title").value = title;
    document.querySelector("#export-thumbnail-row").hidden = !thumbnail;
    if (thumbnail) this.#draw(thumbnail);
    this.busy(false);
    this.#dialog.showModal();
  }

  busy(on) {
    this.#button.disabled = on;
    this.#button.textContent = on ? "Writing…" : "Download";
    if (on) this.problem("");
  }

  problem(text) {
    this.#problem.hidden = !text;
    this.#problem.textContent = text;
  }

  close() {
    this.#dialog.close();
  }

  async #draw(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.querySelector("#export-thumbnail");
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  }
}
