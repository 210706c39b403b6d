// A zip file of files as they are: pictures are packed already. PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.

import { crc32 } from "../picture-info/png.js";

/** Names are UTF-8. */
const FLAGS = 0x0800;
const VERSION = 20;
/** Sizes and places have 32 bits, the number of files 16. */
const LARGEST = 2 ** 32 - 1;
const MOST = 2 ** 16 - 1;

/**
 * @param {{name: string, blob: Blob, modified: Date}[]} files   read one after another
 * @returns {Promise<Blob>}
 */
export async function zipOf(files) {
  const size = files.reduce((sum, { name, blob }) => sum + blob.size + 3 * name.length + 200, 0);
  if (files.length > MOST || size > LARGEST) throw new RangeError("A zip file holds 4 GB and 65,535 files at most. Save fewer at a time.");
  const parts = [];
  const directory = [];
  let at = 0;
  for (const [i, { blob, modified }] of files.entries()) {
    const name = new TextEncoder().encode(uniqueName(files, i));
    const sum = crc32(new Uint8Array(await blob.arrayBuffer()));
    const sizes = [...four(blob.size), ...four(blob.size), ...two(name.length), ...two(0)];
    const about = [...two(VERSION), ...two(FLAGS), ...two(0), ...dosTime(modified), ...four(sum), ...sizes];
    const head = Uint8Array.from([...four(0x04034b50), ...about, ...name]);
    parts.push(head, blob);
    const noComment = [...two(0), ...two(0), ...two(0), ...four(0)];
    directory.push(Uint8Array.from([...four(0x02014b50), ...two(VERSION), ...about, ...noComment, ...four(at), ...name]));
    at += head.length + blob.size;
  }
  const length = directory.reduce((sum, entry) => sum + entry.length, 0);
  const count = [...two(files.length), ...two(files.length)];
  const end = Uint8Array.from([...four(0x06054b50), ...two(0), ...two(0), ...count, ...four(length), ...four(at), ...two(0)]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Of two files with one name the later has a number. */
function uniqueName(files, index) {
  const { name } = files[index];
  const before = files.slice(0, index).filter((file) => file.name === name).length;
  return before === 0 ? name : name.replace(/(\.[^.]*)?$/, ` (${before + 1})$1`);
}

const two = (value) => [value & 255, value >>> 8 & 255];
const four = (value) => [...two(value & 0xffff), ...two(value >>> 16)];

/** MS-DOS' time and date, in two seconds from 1980 on. */
function dosTime(date) {
  const time = date.getHours() << 11 | date.getMinutes() << 5 | date.getSeconds() >> 1;
  const day = Math.max(0, date.getFullYear() - 1980) << 9 | date.getMonth() + 1 << 5 | date.getDate();
  return [...two(time), ...two(day)];
}
