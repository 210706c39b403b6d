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

  /** One with something to do about it, which takes it away. */
  offer(title, text, label, act) {
    const message = this.#add(title, text, "error");
    const button = Object.assign(textOf("button", label), { type: "button", className: "quiet" });
    button.addEventListener("click", () => {
      message.remove();
      act();
    });
    message.firstElementChild.append(button);
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
