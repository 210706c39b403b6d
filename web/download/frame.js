// The only document of the page that may ask another host. It is a frame of its own, whose policy names just the
// hosts in its address (frame.html#https://host ...), and which sends nothing but an address and a range: the
// page with prompts, pictures and files may connect to its own origin only.
//
//   page  -> frame   { port }                       as often as wanted; each port is served on its own
//   port  -> frame   { id, url, from, text }        GET; from: the first byte wanted; text: answer with the whole text
//   port  -> frame   { id, more: true }             one piece further
//   port  -> frame   { id, abort: true }
//   frame -> port    { id, head } { id, bytes } { id, text } { id, end: true } { id, error: { kind, message } }

"use strict";

/** A host source that leaves nothing open: a name, or all names below one; without encryption only on this machine. */
const HOST = /^(https:\/\/(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?|http:\/\/(localhost|127\.0\.0\.1)(:\d{1,5})?)$/;

/** Longest text that is answered whole: lists of files are some kilobytes. */
const LONGEST_TEXT = 8 * 1024 * 1024;

const hosts = decodeURIComponent(location.hash.slice(1)).split(" ").filter(Boolean);
const blocked = [];
addEventListener("securitypolicyviolation", (event) => blocked.push(event.blockedURI));

/** Writes the policy, and sees that it holds. */
const ready = (async () => {
  if (hosts.length === 0 || !hosts.every((host) => HOST.test(host))) throw new Error("no host to ask");
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = `default-src 'none'; connect-src ${hosts.join(" ")}`;
  document.head.append(policy);
  // a name that can't exist (RFC 6761): without a policy this would be asked for
  await fetch("https://policy.invalid/").catch(() => {});
  await new Promise((resolve) => setTimeout(resolve));
  if (blocked.length === 0) throw new Error("this browser doesn't hold the frame to its policy");
})();

addEventListener("message", (event) => {
  if (event.source !== parent || event.origin !== location.origin) return;
  const [port] = event.ports;
  const asked = new Map();
  port.onmessage = ({ data }) => {
    const open = asked.get(data.id);
    if (data.abort) open?.stop.abort();
    else if (data.more) open?.more();
    else void answer(port, asked, data); // tells of its own failures
  };
});

async function answer(port, asked, { id, url, from = 0, text = false }) {
  const stop = new AbortController();
  let wake = () => {};
  let wanted = 0;
  asked.set(id, { stop, more: () => { wanted += 1; wake(); } });
  const seen = blocked.length;
  try {
    await ready;
    const response = await fetch(url, {
      headers: from > 0 ? { Range: `bytes=${from}-` } : {},
      mode: "cors", credentials: "omit", referrerPolicy: "no-referrer", cache: "no-store", redirect: "follow", signal: stop.signal,
    });
    port.postMessage({ id, head: headOf(response) });
    const reader = response.body.getReader();
    if (text) port.postMessage({ id, text: await textOf(reader) });
    else {
      for (;;) {
        while (wanted === 0 && !stop.signal.aborted) {
          await new Promise((resolve) => {
            wake = () => resolve(null);
            stop.signal.onabort = wake;
          });
        }
        stop.signal.throwIfAborted();
        wanted -= 1;
        const { done, value } = await reader.read();
        if (done) break;
        port.postMessage({ id, bytes: value }, value.byteLength === value.buffer.byteLength ? [value.buffer] : []);
      }
      port.postMessage({ id, end: true });
    }
  } catch (error) {
    // the event of a request that the policy stopped may come after its rejection
    await new Promise((resolve) => setTimeout(resolve));
    const kind = stop.signal.aborted ? "abort" : blocked.length > seen ? "policy" : "network";
    port.postMessage({ id, error: { kind, message: error.message } });
  } finally {
    asked.delete(id);
    stop.abort();
  }
}

/** What another origin's answer shows of itself; null: not shown. */
function headOf({ status, headers, url }) {
  const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers.get("content-range") ?? "");
  const length = Number(headers.get("content-length") ?? Number.NaN);
  return {
    status,
    host: new URL(url).host,
    type: (headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase(),
    length: Number.isFinite(length) ? length : null,
    start: range ? Number(range[1]) : null,
    total: range && range[3] !== "*" ? Number(range[3]) : null,
    etag: headers.get("etag") ?? headers.get("last-modified"),
    retryAfter: Number(headers.get("retry-after")) || null,
  };
}

async function textOf(reader) {
  const pieces = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(pieces).text();
    length += value.byteLength;
    if (length > LONGEST_TEXT) throw new Error("the answer is too long");
    pieces.push(value);
  }
}
