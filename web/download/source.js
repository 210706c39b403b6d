// Asks the frame (frame.js) over a port: from the page for lists of files, from the library's worker for bytes.

/** Why an answer is none. kind: "policy" (a host that wasn't chosen), "network", "abort". */
export class AskError extends Error {
  constructor(kind, message) {
    super(message);
    this.name = kind === "abort" ? "AbortError" : "AskError";
    this.kind = kind;
  }
}

/** What to say of a request that came to nothing while there is no network; null while there may be one. @returns {?string} */
export function withoutNetwork() {
  return navigator.onLine === false ? "There is no network. Downloads need it; everything else on this page goes on without." : null;
}

export class Source {
  #port;
  #lastId = 0;
  #open = new Map();

  /** @param {MessagePort} port */
  constructor(port) {
    this.#port = port;
    port.onmessage = ({ data }) => this.#open.get(data.id)?.(data);
  }

  /** @returns {Promise<{head: object, text: string}>} */
  async text(url, signal) {
    const asked = this.#ask({ url, text: true }, signal);
    const { head } = await asked.next();
    const { text } = await asked.next();
    asked.close();
    return { head, text };
  }

  /**
   * @param {number} from   the first byte wanted
   * @returns {Promise<{head: object, pieces: AsyncIterable<Uint8Array>, close: () => void}>}   to be closed when nothing more is wanted
   */
  async bytes(url, from, signal) {
    const asked = this.#ask({ url, from }, signal);
    const { head } = await asked.next();
    const pieces = async function* () {
      try {
        for (;;) {
          asked.more();
          const { bytes } = await asked.next();
          if (!bytes) return;
          yield bytes;
        }
      } finally {
        asked.close();
      }
    };
    return { head, pieces: pieces(), close: asked.close };
  }

  #ask(question, signal) {
    signal?.throwIfAborted();
    const id = ++this.#lastId;
    const port = this.#port;
    const come = [];
    let wake = () => {};
    const take = (data) => {
      come.push(data);
      wake();
    };
    const abort = () => take({ error: { kind: "abort", message: "Stopped." } });
    this.#open.set(id, take);
    signal?.addEventListener("abort", abort, { once: true });
    port.postMessage({ ...question, id });
    const close = () => {
      if (!this.#open.delete(id)) return;
      signal?.removeEventListener("abort", abort);
      port.postMessage({ id, abort: true });
    };
    return {
      more: () => port.postMessage({ id, more: true }),
      close,
      next: async () => {
        while (come.length === 0) await /** @type {Promise<void>} */ (new Promise((resolve) => { wake = resolve; }));
        const data = come.shift();
        if (!data.error) return data;
        close();
        throw new AskError(data.error.kind, data.error.message);
      },
    };
  }
}
