// Which base model a run belongs to, by what is in its files: every second checkpoint is called model.safetensors, and
// a file may be renamed.

/** Bytes of a file that are looked at: its beginning, where names and shapes are, and parts of its tensors. */
const HEAD = 64 * 1024;
const SAMPLES = 64;
const SAMPLE = 4096;

const WEIGHTS = /\.(safetensors|ckpt|bin)$/i;

/**
 * @param {import("../protocol.js").ModelFile[]} files
 * @returns {Promise<?string>} equal for equal models, whatever their files are called; null where it can't be told
 */
export async function baseModelOf(files) {
  try {
    const weights = files.filter(({ path }) => WEIGHTS.test(path));
    const sums = await Promise.all(weights.map(({ blob }) => sumOf(blob)));
    return hex(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(sums.sort().join())));
  } catch {
    return null; // a page without https, or a file that is gone
  }
}

/** @param {Blob} blob */
async function sumOf(blob) {
  const parts = [`${blob.size}`, blob.slice(0, HEAD)];
  for (let i = 1; i <= SAMPLES; i += 1) {
    const at = Math.floor((i / SAMPLES) * Math.max(0, blob.size - SAMPLE));
    parts.push(blob.slice(at, at + SAMPLE));
  }
  return hex(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
