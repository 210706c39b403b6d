// What went wrong, or should be known: a stack of messages that the user dismisses.

const INFO_MS = 9000;

export class Messages {
  #panel = document.querySelector("#messages");

  error(title, text) {
    this.#add(title, text, "error");
  }

  /** Goes by itself, unless someone is on it. */
  info(title, text) {
    const message = this.#add(title, text, "info");
    const leave = () => (message.matches(":hover, :focus-within") ? setTimeout(leave, INFO_MS) : message.remove());
    setTimeout(leave, INFO_MS);
  }

  /** Takes away the messages with this title. */
  clear(title) {
    for (const message of [...this.#panel.children]) {
      if (message.querySelector("strong").textContent === title) message.remove();
    }
  }

  #add(title, text, kind) {
    const message = document.createElement("div");
    message.className = `message ${kind}`;
    message.setAttribute("role", kind === "error" ? "alert" : "status");
    message.innerHTML = '<div><strong></strong><p></p></div><button type="button" class="icon" aria-label="Dismiss">✕</button>';
    message.querySelector("strong").textContent = title;
    message.querySelector("p").textContent = text;
    message.querySelector("button").addEventListener("click", () => message.remove());
    this.#panel.append(message);
    message.scrollIntoView({ block: "nearest" });
    return message;
  }
}
