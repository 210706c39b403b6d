// Takes the hashes of files, which may be large: one after another, where the page never waits for it.

import { adapterHash, embeddingHash, fileHash } from "./picture-info/hashes.js";

const KINDS = { adapter: adapterHash, embedding: embeddingHash, file: fileHash };
let queue = Promise.resolve();

self.addEventListener("message", ({ data: { id, kind, file } }) => {
  queue = queue.then(async () => {
    // a file that can't be read any more has none
    const hash = await KINDS[kind](file).catch(() => null);
    postMessage({ id, hash });
  });
});
