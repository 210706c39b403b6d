// Caption files as other tools and editors leave them: their names and their encodings.

import { stemOf } from "./picture-set.js";

/** What is longer is no caption, whatever it is. */
const LONGEST = 1 << 20;

/**
 * Captions by what they belong to (`pictureOf` of their paths).
 * @param {{name: string, path: string, file: Blob}[]} texts
 * @returns {Promise<{captions: Map<string, string>, unreadable: string[]}>} unreadable: paths of what is no text; it is nobody's caption
 */
export async function captionsOf(texts) {
  const captions = new Map();
  const unreadable = [];
  for (const { path, file } of texts) {
    const caption = await captionOf(file).catch(() => null);
    if (caption === null) unreadable.push(path);
    else captions.set(pictureOf(path), caption);
  }
  return { captions, unreadable };
}

/**
 * The name (or path) of the picture that a caption file belongs to, without its ending: of `a.txt`, `a.caption` and
 * `a.png.txt` it is `a`.
 */
export function pictureOf(name) {
  const stem = stemOf(name);
  return /\.(png|jpe?g|jfif|webp|gif|avif|bmp|heic|heif|tiff?)$/i.test(stem) ? stemOf(stem) : stem;
}

/**
 * A caption as its author's editor shows it: in UTF-8, with or without a byte order mark, in UTF-16, or in Windows' western code page.
 * @param {Blob} file
 * @returns {Promise<?string>} null where it is no text, or too long
 */
export async function captionOf(file) {
  if (file.size > LONGEST) return null;
  const bytes = new Uint8Array(await file.arrayBuffer());
  for (const encoding of encodings(bytes)) {
    try {
      const text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
      if (!text.includes("\0")) return text.trim();
    } catch {
      // not this one
    }
  }
  return null;
}

/** Every other byte of UTF-16 without a mark is a zero, where most of it is in Latin letters. @param {Uint8Array} bytes */
function encodings([first, second]) {
  if ((first === 0xff && second === 0xfe) || (first && second === 0)) return ["utf-16le"];
  if ((first === 0xfe && second === 0xff) || (first === 0 && second)) return ["utf-16be"];
  return ["utf-8", "windows-1252"];
}
