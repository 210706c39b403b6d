// PNG files as chunks: the texts that they carry are read, and one is put in. The pixels stay as they are.
// PNG specification, 3rd edition: sections 5 (chunks), 11.3.3 (texts), annex D (CRC).

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
/** The signature, and IHDR with its frame: whatever is put in goes behind them. */
const HEAD = 8 + 25;
/** A text that unpacks to more is no person's. */
const LONGEST = 16 << 20;

/** @param {Uint8Array} bytes */
export function isPng(bytes) {
  return bytes.length >= HEAD && SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/** @param {Uint8Array} bytes of a PNG @returns {{width: number, height: number}} */
export function pngSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit += 1) n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
  return n;
});

/** @param {Uint8Array} bytes @param {number} [before] of the bytes before these @returns {number} */
export function crc32(bytes, before = 0) {
  let sum = ~before;
  for (let i = 0; i < bytes.length; i += 1) sum = TABLE[(sum ^ bytes[i]) & 255] ^ sum >>> 8;
  return ~sum >>> 0;
}

/**
 * The chunks that are whole, wherever they lie: some programs write texts behind the picture.
 * @param {Uint8Array} bytes
 * @returns {{type: string, data: Uint8Array}[]}
 */
export function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks = [];
  for (let at = SIGNATURE.length; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) break;
    chunks.push({ type: latin1(bytes.subarray(at + 4, at + 8)), data: bytes.subarray(at + 8, at + 8 + length) });
    at += 12 + length;
  }
  return chunks;
}

/** All texts by their keywords; of two with one keyword the first. @param {Uint8Array} bytes @returns {Promise<Map<string, string>>} */
export async function textsOf(bytes) {
  const texts = new Map();
  for (const { type, data } of chunksOf(bytes)) {
    const read = READERS[type];
    const end = data.indexOf(0);
    if (!read || end < 1) continue;
    const keyword = latin1(data.subarray(0, end));
    const text = await read(data.subarray(end + 1)).catch(() => null);
    if (text !== null && !texts.has(keyword)) texts.set(keyword, text);
  }
  return texts;
}

/** What follows the keyword and its zero. @type {Record<string, (data: Uint8Array) => Promise<?string>>} */
const READERS = {
  tEXt: async (data) => latin1(data),
  zTXt: async (data) => latin1(await inflated(data.subarray(1), "deflate")),
  iTXt: async (data) => {
    const [packed] = data;
    const language = data.indexOf(0, 2);
    const translated = language < 0 ? -1 : data.indexOf(0, language + 1);
    if (translated < 0) return null;
    const text = data.subarray(translated + 1);
    return new TextDecoder().decode(packed ? await inflated(text, "deflate") : text);
  },
};

/**
 * Unpacks, up to a size that is sane.
 * @param {Uint8Array} bytes @param {CompressionFormat} format
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function inflated(bytes, format) {
  const stream = new Blob([/** @type {BlobPart} */ (bytes)]).stream().pipeThrough(new DecompressionStream(format));
  const reader = stream.getReader();
  const pieces = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    length += value.length;
    if (length > LONGEST) {
      await reader.cancel();
      throw new RangeError("a text that is too long");
    }
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/**
 * The same file with one text more: as tEXt where it is Latin-1, else as iTXt.
 * @param {Uint8Array} png @param {string} keyword in Latin-1 @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function withText(png, keyword, text) {
  const chunk = textChunk(keyword, text);
  const out = new Uint8Array(png.length + chunk.length);
  out.set(png.subarray(0, HEAD));
  out.set(chunk, HEAD);
  out.set(png.subarray(HEAD), HEAD + chunk.length);
  return out;
}

function textChunk(keyword, text) {
  const plain = isLatin1(text);
  const words = plain ? bytesOf(text) : new TextEncoder().encode(text);
  // of iTXt: not packed, no language, no translated keyword
  const data = [...bytesOf(keyword), 0, ...plain ? [] : [0, 0, 0, 0]];
  const chunk = new Uint8Array(12 + data.length + words.length);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, data.length + words.length);
  chunk.set(bytesOf(plain ? "tEXt" : "iTXt"), 4);
  chunk.set(data, 8);
  chunk.set(words, 8 + data.length);
  view.setUint32(chunk.length - 4, crc32(chunk.subarray(4, -4)));
  return chunk;
}

/** Latin-1 by the specification: no C1 signs, which Windows' code page has others for. */
function isLatin1(text) {
  return /^[\n\t\x20-\x7e\xa0-\xff]*$/.test(text);
}

function bytesOf(text) {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

/** @param {Uint8Array} bytes @returns {string} one letter a byte (TextDecoder's latin1 is Windows' code page) */
export function latin1(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

/** The same file with no text at all. @param {Uint8Array} png @returns {Uint8Array<ArrayBuffer>} */
export function withoutTexts(png) {
  const kept = [png.subarray(0, SIGNATURE.length)];
  let at = SIGNATURE.length;
  for (const { type, data } of chunksOf(png)) {
    if (!READERS[type]) kept.push(png.subarray(at, at + 12 + data.length));
    at += 12 + data.length;
  }
  const out = new Uint8Array(kept.reduce((sum, { length }) => sum + length, 0));
  let length = 0;
  for (const part of kept) {
    out.set(part, length);
    length += part.length;
  }
  return out;
}
