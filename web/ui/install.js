// The button that installs the page as an app: there where the browser offers that, and nowhere else.

export class InstallButton {
  #button = document.querySelector("#install");
  /** Chromium's, to be shown once. */
  #offer = null;

  constructor() {
    addEventListener("beforeinstallprompt", (event) => {
      event.preventDefault(); // the browser would put a bar over the page
      this.#set(event);
    });
    addEventListener("appinstalled", () => this.#set(null));
    this.#button.addEventListener("click", async () => {
      await this.#offer.prompt();
      this.#set(null);
    });
  }

  #set(offer) {
    this.#offer = offer;
    this.#button.hidden = !offer;
  }
}
