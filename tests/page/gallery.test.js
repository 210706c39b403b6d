// The gallery's album and its zip file, without a page.

import assert from "node:assert/strict";
import { crc32 as nodeCrc32 } from "node:zlib";
import { test } from "node:test";
import { Album } from "../../web/gallery/album.js";
import { zipOf } from "../../web/gallery/zip.js";
import { chunksOf, crc32, textsOf, withText, withoutTexts } from "../../web/picture-info/png.js";
import { readFileSync } from "node:fs";
import galleryFaults from "./played/gallery_faults.js";
import { memory } from "./played/run_disk.js";

const digest = (i) => i.toString(16).padStart(16, "0");
const when = (i) => new Date(Date.UTC(2026, 0, 1, 0, 0, i));
const png = (i, size = 10) => new Blob([`${i}`.padEnd(size)]);

test("a tab that dies and a full disk leave whole pictures, at every call of the disk", async () => {
  const { wrong, faults } = await galleryFaults();
  assert.deepEqual(wrong, []);
  assert.ok(faults > 80, `${faults}`);
});

test("the newest are kept, up to a number and a size, and all with a star", async () => {
  const album = new Album(memory(new Map()), { count: 3, bytes: 100 });
  for (let i = 0; i < 3; i += 1) assert.deepEqual(await album.keep(png(i), digest(i), when(i)), { known: false, left: 0 });
  const [, , oldest] = await album.list();
  await album.star(oldest.id, true);
  assert.equal((await album.keep(png(3), digest(3), when(3))).left, 0);
  assert.equal((await album.keep(png(4), digest(4), when(4))).left, 1);
  const of = async () => (await album.list()).map(({ id, starred }) => [parseInt(id.slice(-16), 16), starred]);
  assert.deepEqual(await of(), [[4, false], [3, false], [2, false], [0, true]]);
  // one large picture makes room for itself, and is kept whatever it takes
  assert.equal((await album.keep(png(5, 300), digest(5), when(5))).left, 3);
  assert.deepEqual(await of(), [[5, false], [0, true]]);
  assert.deepEqual(await album.keep(png(5), digest(5), when(9)), { known: true, left: 0 });
  assert.deepEqual((await album.list())[0].drawn, when(5));
});

test("what another tab has deleted is said, and what is deleted comes back as it was", async () => {
  const files = new Map();
  const [one, two] = [new Album(memory(files)), new Album(memory(files))];
  await one.keep(png(1), digest(1), when(1));
  const [{ id }] = await two.list();
  await one.star(id, true);
  const removed = await one.remove(id);
  await assert.rejects(two.star(id, false), /isn’t there any more/);
  await assert.rejects(two.remove(id), /isn’t there any more/);
  assert.equal(await two.read(id), null);
  await one.putBack(removed);
  assert.deepEqual((await two.list()).map(({ id: back, starred }) => [back, starred]), [[id, true]]);
  assert.equal((await (await two.read(id)).text()).trim(), "1");
});

test("files of others in the folder are left alone, and empty ones only while somebody may be writing them", async () => {
  const files = new Map([["notes.txt", new Blob(["x"])], ["20260101000000000-0000000000000001.png", new Blob([])]]);
  const album = new Album(memory(files));
  assert.deepEqual(await album.list(), []);
  await album.sweep(1000); // the disk in memory says that all is of the first millisecond of 1970
  assert.equal(files.size, 2);
  await album.sweep(2 * 86_400_000);
  assert.deepEqual([...files.keys()], ["notes.txt"]);
});

test("a zip file holds its files as they are", async () => {
  const given = [["a.png", "first"], ["a.png", ""], ["grün 桜.png", "third file"]].map(([name, text]) => ({ name, blob: new Blob([text]), modified: new Date(2026, 10, 30, 12, 34, 56) }));
  const zip = Buffer.from(await (await zipOf(given)).arrayBuffer());
  const end = zip.length - 22;
  assert.equal(zip.readUInt32LE(end), 0x06054b50);
  const [count, length, start] = [zip.readUInt16LE(end + 10), zip.readUInt32LE(end + 12), zip.readUInt32LE(end + 16)];
  assert.deepEqual([count, start + length], [3, end]);
  const found = [];
  for (let at = start; at < end;) {
    assert.equal(zip.readUInt32LE(at), 0x02014b50);
    const [sum, size, whole, local] = [16, 20, 24, 42].map((field) => zip.readUInt32LE(at + field));
    const nameLength = zip.readUInt16LE(at + 28);
    const name = zip.toString("utf8", at + 46, at + 46 + nameLength);
    assert.equal(zip.readUInt32LE(local), 0x04034b50);
    // the same words before the file as in the list
    assert.deepEqual(zip.subarray(local + 4, local + 30), zip.subarray(at + 6, at + 32));
    const data = zip.subarray(local + 30 + nameLength, local + 30 + nameLength + size);
    assert.deepEqual([size, crc32(data), zip.readUInt16LE(at + 8)], [whole, sum, 0x0800]);
    assert.deepEqual([zip.readUInt16LE(at + 12), zip.readUInt16LE(at + 14)], [12 << 11 | 34 << 5 | 28, 46 << 9 | 11 << 5 | 30]);
    found.push([name, data.toString()]);
    at += 46 + nameLength;
  }
  assert.deepEqual(found, [["a.png", "first"], ["a (2).png", ""], ["grün 桜.png", "third file"]]);
  await assert.rejects(zipOf(Array.from({ length: 65536 }, () => given[1])), /4 GB and 65,535 files/);
  if (nodeCrc32) assert.equal(crc32(Buffer.from("123456789")), nodeCrc32("123456789"));
  assert.equal(crc32(Buffer.from("123456789")), 0xcbf43926);
});

test("a picture whose texts are taken out has the same other chunks", async () => {
  const bytes = new Uint8Array(readFileSync(new URL("../fixtures/picture-info/infotext/comfyui.png", import.meta.url)));
  const bare = withoutTexts(withText(bytes, "parameters", "桜"));
  assert.equal((await textsOf(bare)).size, 0);
  assert.deepEqual(chunksOf(bare), chunksOf(bytes).filter(({ type }) => type !== "tEXt"));
});
