// Files come in here: dropped anywhere on the page, through the two buttons, or opened with the installed page.

import { filesOfDrop, filesOfInput, filesOfLaunch } from "../files.js";

/** A text with A1111's line of settings. */
const INFOTEXT = /(^|\n)Steps: \d+, /;

/**
 * Events: "files" {files, role}; role: what pictures among them are for, by where they were dropped. "infotext" {text}: the
 * settings of a picture, pasted as its prompt.
 */
export class DropTarget extends EventTarget {
  #overlay = document.querySelector("#drop-overlay");

  constructor() {
    super();
    addEventListener("dragover", (event) => {
      if (!carriesFiles(event)) return keepPage(event);
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      this.#overlay.hidden = false;
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) this.#overlay.hidden = true;
    });
    addEventListener("drop", async (event) => {
      this.#overlay.hidden = true;
      if (!carriesFiles(event)) return keepPage(event);
      event.preventDefault();
      const role = roleAt(event.target);
      this.#take(await filesOfDrop(event.dataTransfer), role);
    });
    addEventListener("paste", (event) => this.#paste(event));
    const [files, folder] = [document.querySelector("#file-input"), document.querySelector("#folder-input")];
    document.querySelector("#add-files").addEventListener("click", () => files.click());
    document.querySelector("#open-folder").addEventListener("click", () => folder.click());
    for (const chooser of [files, folder]) {
      chooser.addEventListener("change", () => {
        this.#take(filesOfInput(chooser));
        chooser.value = ""; // the same file again is a change again
      });
    }
    window.launchQueue?.setConsumer(async ({ files: handles }) => this.#take(await filesOfLaunch(handles)));
  }

  /** @param {ClipboardEvent} event */
  #paste(event) {
    const { clipboardData, target } = event;
    const text = clipboardData.getData("text/plain");
    const field = target instanceof Element && target.matches("input, textarea");
    if (text && target instanceof Element && target.id === "prompt" && INFOTEXT.test(text)) {
      event.preventDefault();
      this.dispatchEvent(new CustomEvent("infotext", { detail: { text } }));
    } else if (clipboardData.files.length > 0 && !(field && text)) {
      event.preventDefault();
      this.#take([...clipboardData.files].map((file) => ({ path: file.name, file })), roleAt(document.activeElement));
    }
  }

  #take(files, role = "train") {
    if (files.length > 0) this.dispatchEvent(new CustomEvent("files", { detail: { files, role } }));
  }
}

/** What pictures are for that come here. @returns {string|undefined} undefined: as everywhere */
function roleAt(target) {
  return target instanceof Element ? target.closest("[data-drop-role]")?.getAttribute("data-drop-role") : undefined;
}

/** A link or a picture of another page that is dropped here must not take this page's place; text goes into a field. */
function keepPage(event) {
  if (event.target.closest?.("input, textarea")) return;
  event.preventDefault();
  if (event.dataTransfer) event.dataTransfer.dropEffect = "none";
}

function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}
