// Starts workers so that they run under the page's policy. A worker that is loaded from an address has the
// policy that comes with its answer, and most static hosts send none; one that is started from a blob inherits
// that of whoever starts it, on any host and at the first visit. So a worker's script is a blob of one line
// that imports its module.

/** Trusted Types let these alone become the address of a script that is started. */
const rules = { createScriptURL: ofThisOrigin };
const policy = self.trustedTypes?.createPolicy("lorakeet", rules) ?? rules;

/** Made once for each module: a worker that breaks is started again. */
const starts = new Map();

/**
 * @param {URL} module    of this page's own origin; its query is `import.meta.url`'s in the worker
 * @param {string} name   for whoever looks at the browser's list of workers
 */
export function startWorker({ href }, name) {
  if (!starts.has(href)) {
    const script = `import ${JSON.stringify(href)};`;
    starts.set(href, URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  }
  return new Worker(scriptAddress(starts.get(href)), { type: "module", name });
}

/**
 * An address that a script may be started from. Throws where it is another origin's.
 * @param {string | URL} address
 */
export function scriptAddress(address) {
  return policy.createScriptURL(String(address));
}

function ofThisOrigin(address) {
  if (new URL(address).origin !== self.origin) throw new TypeError(`${address} is no script of this page`);
  return address;
}
