// Texts in JPEG, WebP and GIF files: EXIF, which is a small TIFF file, or a comment.

import { latin1 } from "./png.js";

const EXIF_IFD = 0x8769;
/** The tags that programs write their texts to. */
const TAGS = { 0x9286: "UserComment", 0x010e: "ImageDescription", 0x010f: "Make", 0x0110: "Model" };
/** A count of entries that is more is damage. */
const MOST_ENTRIES = 512;

const startsWith = (bytes, at, text) => latin1(bytes.subarray(at, at + text.length)) === text;

/** @param {Uint8Array} bytes of a file @returns {?Map<string, string>} texts by tag; null: none of these files */
export function exifTexts(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return textsOfTiff(exifOfJpeg(bytes));
  if (startsWith(bytes, 0, "RIFF") && startsWith(bytes, 8, "WEBP")) return textsOfTiff(exifOfWebp(bytes));
  if (startsWith(bytes, 0, "GIF8")) return commentOfGif(bytes);
  return null;
}

/** Segments come one after another until the picture begins. */
function exifOfJpeg(bytes) {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
    const length = bytes[at + 2] << 8 | bytes[at + 3];
    if (bytes[at + 1] === 0xe1 && startsWith(bytes, at + 4, "Exif\0\0")) return bytes.subarray(at + 10, at + 2 + length);
    at += 2 + length;
  }
  return null;
}

function exifOfWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length;) {
    const length = view.getUint32(at + 4, true);
    if (startsWith(bytes, at, "EXIF")) {
      const data = bytes.subarray(at + 8, at + 8 + length);
      return startsWith(data, 0, "Exif\0\0") ? data.subarray(6) : data;
    }
    at += 8 + length + length % 2;
  }
  return null;
}

function commentOfGif(bytes) {
  const texts = new Map();
  const table = (flags) => (flags & 0x80 ? 3 << (flags & 7) + 1 : 0);
  let at = 13 + table(bytes[10]);
  while (at < bytes.length && bytes[at] !== 0x3b) {
    const isComment = bytes[at] === 0x21 && bytes[at + 1] === 0xfe;
    // an image has its place, its colours and one byte before its blocks; what else there is has two
    at += bytes[at] === 0x2c ? 11 + table(bytes[at + 9]) : 2;
    const blocks = [];
    for (; bytes[at]; at += 1 + bytes[at]) blocks.push(bytes.subarray(at + 1, at + 1 + bytes[at]));
    at += 1;
    if (isComment && !texts.has("comment")) texts.set("comment", utf8(Uint8Array.from(blocks.flatMap((block) => [...block]))));
  }
  return texts;
}

/** @param {?Uint8Array} tiff @returns {Map<string, string>} */
function textsOfTiff(tiff) {
  const texts = new Map();
  if (!tiff || tiff.length < 8) return texts;
  const little = startsWith(tiff, 0, "II");
  if (!little && !startsWith(tiff, 0, "MM")) return texts;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const read = (at, deeper) => {
    if (at + 2 > tiff.length) return;
    const count = Math.min(view.getUint16(at, little), MOST_ENTRIES);
    for (let entry = at + 2; entry < at + 2 + 12 * count && entry + 12 <= tiff.length; entry += 12) {
      const tag = view.getUint16(entry, little);
      const length = view.getUint32(entry + 4, little);
      const value = view.getUint32(entry + 8, little);
      if (tag === EXIF_IFD && deeper) read(value, false);
      if (!TAGS[tag]) continue;
      const start = length <= 4 ? entry + 8 : value;
      const data = tiff.subarray(start, start + length);
      texts.set(TAGS[tag], tag === 0x9286 ? userComment(data, little) : utf8(data).replace(/\0+$/, ""));
    }
  };
  read(view.getUint32(4, little), true);
  return texts;
}

/** Eight bytes say what the rest is in. @param {Uint8Array} data @param {boolean} little the file's order of bytes */
function userComment(data, little) {
  const rest = data.subarray(8);
  if (startsWith(data, 0, "UNICODE\0")) return utf16(rest, little);
  return utf8(startsWith(data, 0, "ASCII\0\0\0") || startsWith(data, 0, "\0\0\0\0\0\0\0\0") ? rest : data).replace(/\0+$/, "");
}

/**
 * Some programs write the file's order of bytes, others always big-endian: where one way gives mostly signs whose low
 * byte is 0, which are Latin letters turned around, it is the other way.
 */
function utf16(bytes, little) {
  const decode = (order) => new TextDecoder(order ? "utf-16le" : "utf-16be").decode(bytes).replace(/\0+$/, "");
  const text = decode(little);
  const turned = [...text].filter((letter) => letter >= "Ā" && (letter.codePointAt(0) ?? 0) % 256 === 0).length;
  return 2 * turned > text.length ? decode(!little) : text;
}

function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return latin1(bytes);
  }
}
