// Fetches an entry's files from an address into the library's store: in ranges, on from where it was cut, within what
// the disk has room for, and checked against the sum that the host or the person names.

import { partOf } from "../model-files.js";
import { size } from "../format.js";
import { CHUNK } from "../library/shelf.js";
import { Sha256 } from "../library/sha256.js";
import { Pace } from "./pace.js";
import { withoutNetwork } from "./source.js";

/** So many bytes before the place of a cut are asked for again, and compared: a file that changed meanwhile is found out. */
const OVERLAP = 64 * 1024;
/** How often in a row nothing may come before it gives up; each piece that comes begins anew. */
const TRIES = 12;
/** How often when the host never answered at all: waiting mends no rule of its. */
const UNANSWERED = 4;
const FIRST_WAIT = 250;
const LONGEST_WAIT = 30_000;
/** What came is written at least so often: what a closed tab loses on a slow line. */
const WRITTEN_MS = 2000;

/** What browsers call "network error" where an answer breaks off. */
const CUT = "The connection was cut.";

/** What trying again doesn't mend. Its name is "Refused", "Full" where the disk is, or "OtherBytes" than were promised. */
function refused(message, name = "Refused") {
  return Object.assign(new Error(message), { name });
}

/**
 * @typedef {object} FetchProgress
 * @property {"asking"|"checking"|"loading"|"waiting"} phase   checking: reading what is there already
 * @property {number} done
 * @property {?number} total       null: not told by the host
 * @property {?number} [speed]     bytes a second
 * @property {?number} [left]      seconds
 * @property {string} [why]        it waits
 */

export class Fetcher {
  #store;
  #source;
  #wait;
  #chunk;
  #overlap;

  /**
   * @param {import("../library/store.js").Store} store
   * @param {import("./source.js").Source} source
   * @param {{wait?: (ms: number, signal: AbortSignal) => Promise<void>, chunk?: number, overlap?: number}} options
   */
  constructor(store, source, { wait = pause, chunk = CHUNK, overlap = OVERLAP } = {}) {
    this.#store = store;
    this.#source = source;
    this.#wait = wait;
    this.#chunk = chunk;
    this.#overlap = overlap;
  }

  /**
   * Fetches what of an entry isn't there, and makes it whole. Stopped at any moment, it goes on from there.
   * @param {import("../library/shelf.js").Entry} entry
   * @param {{signal: AbortSignal, onProgress: (progress: FetchProgress) => void}} options
   * @returns {Promise<import("../library/shelf.js").Entry>}
   */
  async fetch(entry, { signal, onProgress }) {
    const pace = new Pace();
    const tell = (phase, done, more = {}) => {
      const total = entry.files.every(({ size }) => size !== null) ? entry.files.reduce((sum, { size }) => sum + (size ?? 0), 0) : null;
      const before = entry.files.reduce((sum, part) => sum + (part.sha256 && part.size || 0), 0);
      const now = performance.now();
      const all = before + done;
      if (phase === "loading") pace.add(all, now);
      onProgress({ phase, done: all, total, speed: pace.speed, left: total === null ? null : pace.left(total - all), ...more });
    };
    for (const part of entry.files) {
      if (part.sha256 === null) await this.#part(entry, part, signal, tell);
    }
    entry.size = entry.files.reduce((sum, { size }) => sum + (size ?? 0), 0);
    if (entry.files.length === 1) entry.kind = await this.#kindOf(entry.files[0]);
    entry.state = "whole";
    entry.note = null;
    await this.#noted(entry);
    return entry;
  }

  async #kindOf({ name }) {
    return ["checkpoint", "unet"].includes(await partOf(/** @type {Blob} */ (await this.#store.read(name)))) ? "model" : "adapter";
  }

  async #part(entry, part, signal, tell) {
    const work = await this.#begun(part, signal, tell);
    for (let failures = 0; ;) {
      const before = work.at;
      try {
        await this.#stretch(entry, part, work, signal, tell);
        break;
      } catch (error) {
        await this.#flush(part, work);
        await this.#noted(entry);
        if (signal.aborted || error.name === "AbortError") throw new DOMException("Stopped.", "AbortError");
        if (["Refused", "Full", "OtherBytes"].includes(error.name)) throw error;
        const message = error.kind === "network" ? withoutNetwork() ?? CUT : error.message;
        failures = work.at > before ? 1 : failures + 1;
        // some browsers ask the host's leave for a range, which its storage refuses: then all of it, from the start
        work.plain = !work.answered && failures >= UNANSWERED / 2;
        if (!work.answered && failures >= UNANSWERED) {
          throw refused(`${message} If you are online: download it in a tab of its own and drop it here.`);
        }
        if (failures > TRIES) throw refused(`${message} It was tried ${TRIES} times; what is there is kept. Resume goes on from there.`);
        const asHostSays = error.retryAfter && Math.min(error.retryAfter * 1000, 10 * LONGEST_WAIT);
        tell("waiting", work.at, { why: message });
        await this.#wait(asHostSays || Math.min(FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT), signal);
      }
    }
    await this.#judged(entry, part, work.sum.hex());
  }

  /** What is there is read again: its sum goes on, and nothing is taken on trust. */
  async #begun(part, signal, tell) {
    const work = { at: 0, sum: new Sha256(), held: [], holding: 0, written: performance.now(), answered: false, plain: false };
    if (part.size === 0) await this.#store.append(part.name, 0, new Uint8Array(0));
    const there = /** @type {Blob} */ (await this.#store.read(part.name)); // none: nothing is read
    const end = Math.min(there?.size ?? 0, part.have ?? 0);
    while (work.at < end) {
      signal.throwIfAborted();
      const bytes = new Uint8Array(await there.slice(work.at, Math.min(end, work.at + this.#chunk)).arrayBuffer());
      work.sum.update(bytes);
      work.at += bytes.length;
      tell("checking", work.at);
    }
    return work;
  }

  /** One request, to the end of the file. */
  async #stretch(entry, part, work, signal, tell) {
    if (part.size !== null && work.at === part.size) return;
    const from = work.plain ? 0 : Math.max(0, work.at - this.#overlap);
    const asked = this.#source.bytes(part.url, from, signal);
    const { head, pieces, close } = await asked.catch((error) => { throw explained(error, part.url); });
    try {
      work.answered = true;
      const whole = judge(head, from, part);
      const total = head.total ?? (part.size === null ? told(head, whole ? 0 : from) : null);
      if (part.size !== null && total !== null && total !== part.size) {
        if (part.wanted) {
          throw refused(`The host has ${total} bytes where ${part.size} were to come: the file has changed. Look it up again.`);
        }
        anew(part, work);
        part.size = null;
        throw new Error("The file changed on its host, so it begins anew.");
      }
      part.size ??= total;
      if (whole) anew(part, work);
      const there = whole ? null : /** @type {Blob} */ (await this.#store.read(part.name));
      const again = there && new Uint8Array(await there.slice(from, work.at).arrayBuffer());
      let compared = 0;
      for await (const piece of pieces) {
        let fresh = piece;
        if (again && compared < again.length) {
          const same = Math.min(piece.length, again.length - compared);
          if (piece.subarray(0, same).some((byte, i) => byte !== again[compared + i])) {
            anew(part, work);
            throw new Error("The file changed on its host, so it begins anew.");
          }
          compared += same;
          fresh = piece.subarray(same);
        }
        await this.#take(entry, part, work, fresh);
        tell("loading", work.at + work.holding);
      }
      await this.#flush(part, work);
      if (part.size === null) part.size = work.at;
      if (work.at > part.size) throw refused("More bytes came than the host said there are.");
      if (work.at < part.size) throw new Error(CUT);
    } finally {
      close();
    }
  }

  /** Holds what comes until it is worth writing. */
  async #take(entry, part, work, bytes) {
    if (bytes.length === 0) return;
    if (work.at + work.holding === 0) lookAt(bytes, part);
    work.held.push(bytes);
    work.holding += bytes.length;
    if (work.holding < this.#chunk && performance.now() - work.written < WRITTEN_MS) return;
    await this.#flush(part, work);
    await this.#noted(entry);
  }

  async #flush(part, work) {
    if (work.holding === 0) return;
    const bytes = new Uint8Array(work.holding);
    let at = 0;
    for (const piece of work.held) {
      bytes.set(piece, at);
      at += piece.length;
    }
    work.held = [];
    work.holding = 0;
    work.written = performance.now();
    try {
      await this.#store.append(part.name, work.at, bytes);
    } catch (error) {
      throw full(error, part.size === null ? null : part.size - work.at);
    }
    work.sum.update(bytes);
    work.at += bytes.length;
    part.have = work.at;
  }

  async #noted(entry) {
    await this.#store.commit(entry).catch((error) => { throw full(error); });
  }

  async #judged(entry, part, sum) {
    if (part.wanted && part.wanted.toLowerCase() !== sum) {
      await this.#store.remove(part.name);
      part.have = 0;
      await this.#noted(entry);
      throw refused(`What came isn't what was promised: its SHA-256 is ${sum.slice(0, 12)}…, not ${part.wanted.slice(0, 12).toLowerCase()}…. It was thrown away; Resume fetches it anew.`, "OtherBytes");
    }
    part.sha256 = sum;
    await this.#noted(entry);
  }
}

function anew(part, work) {
  Object.assign(work, { at: 0, sum: new Sha256(), held: [], holding: 0 });
  part.have = 0;
}

/** The whole size by the length of an answer. Text may come compressed, with the length of that. */
function told({ length, type }, from) {
  return length === null || /text|json|xml|script/.test(type) ? null : from + length;
}

/** @returns {boolean} whether the answer is the whole file and not the range that was asked for */
function judge({ status, type, retryAfter, start, host }, from, { url }) {
  if (status === 206 || status === 200) {
    if (type === "text/html" && !/\.html?$/.test(new URL(url).pathname)) {
      throw refused(
        `${host} sent a web page and not the file: it wants a login, or the address is that of a page. Download it in a tab of its own and drop it here.`,
      );
    }
    if (status === 206 && start !== null && start !== from) throw refused(`${host} sent another range than it was asked for.`);
    return status === 200;
  }
  if (status === 416) throw refused(`${host} has fewer bytes than are here already: the file has changed. Cancel, and begin anew.`);
  if (status === 401 || status === 403) {
    throw refused(
      `${host} wants to know who asks (HTTP ${status}). Log in there in a tab of its own, download the file by its own button, and drop it here; this page asks for no passwords or tokens.`,
    );
  }
  if (status === 404 || status === 410) throw refused(`${host} has no such file (HTTP ${status}). Look at the address again.`);
  if (status === 408 || status === 429 || status >= 500) {
    throw Object.assign(new Error(`${host} is busy (HTTP ${status}).`), { retryAfter });
  }
  throw refused(`${host} answered with HTTP ${status}.`);
}

/** The first bytes of a .safetensors file: the length of its header, then JSON. */
function lookAt(bytes, { path, size }) {
  if (!/\.safetensors$/i.test(path) || bytes.length < 9) return;
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (bytes[8] === 0x7b && length > 1 && (size === null || length <= size - 8)) return;
  throw refused("What came is no .safetensors file, whatever it is called.");
}

function explained(error, url) {
  const { host } = new URL(url);
  if (error.kind === "policy") {
    return refused(
      `${host} sends on to a host that you didn't choose. If you trust it, look up the address again and name that host under “More”.`,
    );
  }
  if (error.kind === "network") {
    return new Error(withoutNetwork() ?? `${host} can't be reached, or doesn't let other pages read its files.`);
  }
  return error;
}

/** @param {?number} missing bytes that are still to come */
function full(error, missing = null) {
  if (error.name !== "QuotaExceededError") return error;
  const need = missing === null ? "" : ` ${size(missing)} are still missing.`;
  return refused(`The browser's room for files is full.${need} Delete something in the Library or free the disk, then press Resume.`, "Full");
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("Stopped.", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
