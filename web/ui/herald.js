// Tells somebody who is elsewhere that something long has ended: in the tab's title until the tab is seen again, and as a
// notification of the system's, where that was ticked and the browser allows it.

import { recall, remember } from "../storage.js";

const NAME = "Lorakeet";
const REMEMBERED = "tell";
const ICON = new URL("../icon.svg", import.meta.url).href;

export class Herald {
  #box = document.querySelector("#tell");
  #note = document.querySelector("#tell-note");
  /** What goes on, in few words; nothing: nothing does. */
  #going = "";
  /** What has ended and nobody has seen yet. */
  #ended = "";

  constructor() {
    document.querySelector("#tell-row").hidden = !("Notification" in window);
    this.#box.checked = recall(REMEMBERED, false) && this.#allowed;
    this.#box.addEventListener("change", () => this.#ticked());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      this.#ended = "";
      this.#write();
    });
  }

  get #allowed() {
    return "Notification" in window && Notification.permission === "granted";
  }

  /** @param {string} words what goes on; nothing: nothing does */
  goesOn(words) {
    this.#going = words;
    this.#write();
  }

  /**
   * Something has ended. Who looks at the page sees it there.
   * @param {string} words      few, for the title
   * @param {string} [details]  what a notification says; without it there is none
   */
  ended(words, details) {
    if (!document.hidden) return;
    this.#ended = words;
    this.#write();
    if (details && this.#box.checked) this.#notify(words, details).catch(() => {}); // the title has it
  }

  #write() {
    const title = [this.#ended || this.#going, NAME].filter(Boolean).join(" · ");
    if (document.title !== title) document.title = title;
  }

  async #ticked() {
    this.#note.textContent = "";
    // a browser asks only after a press, such as this one
    if (this.#box.checked && await Notification.requestPermission() !== "granted") {
      this.#box.checked = false;
      this.#note.textContent = "This browser doesn't let the page send notifications: allow them in its settings for this site. The tab's title will tell all the same.";
    }
    remember(REMEMBERED, this.#box.checked);
  }

  async #notify(title, body) {
    const about = { body, icon: ICON, tag: NAME };
    try {
      const notification = new Notification(title, about);
      notification.addEventListener("click", () => {
        window.focus();
        notification.close();
      });
    } catch {
      // on Android only a service worker may
      await (await navigator.serviceWorker?.getRegistration())?.showNotification(title, about);
    }
  }
}
