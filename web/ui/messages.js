// What went wrong, or should be known: a stack of messages that the user dismisses.

const INFO_MS = 9000;
/** Long ones are to be read too. */
const INFO_MS_PER_LETTER = 80;

export class Messages {
  #panel = document.querySelector("#messages");
  /** There from the beginning: what is put into a new element of this kind isn't read out everywhere. */
  #announce = document.querySelector("#announce");

  error(title, text) {
    this.#add(title, text, "error");
  }

  /** Goes by itself, unless someone is on it or nobody sees the page. */
  info(title, text) {
    const message = this.#add(title, text, "info");
    const words = textOf("p", `${title}: ${text}`);
    this.#announce.append(words);
    const isBeingRead = () => document.hidden || message.matches(":hover, :focus-within");
    const leave = () => {
      if (isBeingRead()) return void setTimeout(leave, INFO_MS);
      message.remove();
      words.remove();
    };
    setTimeout(leave, Math.max(INFO_MS, INFO_MS_PER_LETTER * words.textContent.length));
  }

  /**
   * One with something to do about it, which takes it away.
   * @param {string} title @param {string} text @param {string} label @param {() => void} act
   * @param {{kind?: "error"|"info", dismissed?: () => void, also?: {label: string, act: () => void}[]}} [how]
   *   dismissed: somebody doesn't want it; also: what else can be done
   */
  offer(title, text, label, act, { kind = "error", dismissed, also = [] } = {}) {
    const message = this.#add(title, text, kind);
    if (kind === "info") this.#announce.replaceChildren(textOf("p", `${title}: ${text}`));
    const buttons = Object.assign(document.createElement("div"), { className: "buttons" });
    for (const deed of [{ label, act }, ...also]) {
      const button = Object.assign(textOf("button", deed.label), { type: "button", className: "quiet" });
      button.addEventListener("click", () => {
        message.remove();
        deed.act();
      });
      buttons.append(button);
    }
    if (dismissed) message.querySelector(".icon").addEventListener("click", dismissed);
    message.firstElementChild.append(buttons);
  }

  /** Takes away the messages with this title. */
  clear(title) {
    for (const message of [...this.#panel.children]) {
      if (message.querySelector("strong").textContent === title) message.remove();
    }
  }

  /** What is told again comes once, as the newest. */
  #add(title, text, kind) {
    for (const message of [...this.#panel.children]) {
      if (message.querySelector("strong").textContent === title && message.querySelector("p").textContent === text) message.remove();
    }
    const message = document.createElement("div");
    message.className = `message ${kind}`;
    if (kind === "error") message.setAttribute("role", "alert");
    const words = document.createElement("div");
    words.append(textOf("strong", title), textOf("p", text));
    const dismiss = Object.assign(textOf("button", "✕"), { type: "button", className: "icon", ariaLabel: "Dismiss" });
    dismiss.addEventListener("click", () => message.remove());
    message.append(words, dismiss);
    this.#panel.append(message);
    message.scrollIntoView({ block: "nearest" });
    return message;
  }
}

function textOf(kind, text) {
  return Object.assign(document.createElement(kind), { textContent: text });
}
