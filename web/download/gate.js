// Opens the frame that may ask chosen hosts, and closes it when nobody asks any more.

import { Source, withoutNetwork } from "./source.js";

/** How long a frame may take to be there. */
const LIMIT_MS = 20_000;

export class Gate {
  #frame;
  #loaded;

  /** @param {string[]} hosts sources for its policy */
  constructor(hosts) {
    const frame = document.createElement("iframe");
    frame.hidden = true;
    frame.title = "Download";
    frame.referrerPolicy = "no-referrer";
    // its own script and the private files of this origin; no forms, no windows, no way to lead the page elsewhere
    frame.setAttribute("sandbox", "allow-scripts allow-same-origin");
    const address = new URL("./frame.html", import.meta.url);
    address.hash = encodeURIComponent(hosts.join(" "));
    this.#loaded = new Promise((resolve, reject) => {
      const lost = () => reject(new Error(withoutNetwork() ?? "The part of the page that downloads could not be opened."));
      // a browser's own page of what went wrong loads too, and nobody may look into it
      frame.addEventListener("load", () => (frame.contentDocument ? resolve() : lost()), { once: true });
      setTimeout(lost, LIMIT_MS);
    });
    this.#loaded.catch(() => {});
    frame.src = address.href;
    document.body.append(frame);
    this.#frame = frame;
  }

  /** A port to ask over, for here or for a worker. @returns {Promise<MessagePort>} */
  async port() {
    await this.#loaded;
    const { port1, port2 } = new MessageChannel();
    this.#frame.contentWindow.postMessage({ port: true }, location.origin, [port1]);
    return port2;
  }

  /** @returns {Promise<object>} the JSON at an address; throws with words for people */
  async json(url, signal) {
    const { host } = new URL(url);
    const { head, text } = await new Source(await this.port()).text(url, signal).catch((error) => {
      if (error.kind === "network") {
        throw new Error(
          withoutNetwork() ?? `${host} can't be reached, or doesn't let other pages ask it. Download the file in a tab of its own and drop it here.`,
        );
      }
      throw error;
    });
    if (head.status === 401 || head.status === 403) {
      throw new Error(
        `${host} wants to know who asks (HTTP ${head.status}): the model may want a login or a licence agreed to. Do that in a tab of its own, download the file there, and drop it here.`,
      );
    }
    if (head.status === 404) throw new Error(`${host} has nothing at this address (HTTP 404).`);
    if (head.status !== 200) throw new Error(`${host} answered with HTTP ${head.status}. Try again later.`);
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(`${host} answered with something else than a list.`);
    }
  }

  close() {
    this.#frame.remove();
  }
}
