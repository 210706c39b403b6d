// The gallery's album on a disk in memory: two tabs draw, star, delete, bring back, and at each call of the disk of one of
// them, in turn, it dies or the disk is full. What is left are whole pictures: each that was told to be kept, unless it was
// deleted or made room, and none that nobody drew. Returns how many faults were tried, and what was wrong.

import { Album } from "../../../web/gallery/album.js";
import { memory } from "./run_disk.js";

const METHODS = ["read", "write", "move", "remove", "list"];
const KINDS = ["dies before", "dies after", "dies half way", "is full"];
const MOST = { count: 4, bytes: 1e9 };

/** What a call leaves that is cut off. */
const half = (files, method, [path, to]) => {
  if (method === "write" && !files.has(path)) files.set(path, new Blob([]));
  // a browser that can't rename copies, and deletes after that
  if (method === "move") files.set(to, files.get(path));
};

/** A tab's disk, to which something happens at the n-th call. */
const faulty = (files, n, kind) => {
  const disk = memory(files);
  const tab = { calls: 0, dead: false };
  tab.death = new Promise((resolve) => { tab.died = resolve; });
  for (const method of METHODS) {
    tab[method] = async (...words) => {
      if (tab.dead) return new Promise(() => {});
      tab.calls += 1;
      if (tab.calls !== n) return disk[method](...words);
      if (kind === "is full") {
        if (method !== "write") return disk[method](...words);
        throw new DOMException("full", "QuotaExceededError");
      }
      tab.dead = true;
      if (kind === "dies after") await disk[method](...words);
      if (kind === "dies half way") half(files, method, words);
      tab.died();
      return new Promise(() => {});
    };
  }
  return tab;
};

const digest = (i) => i.toString(16).padStart(16, "0");
const png = (i) => new Blob([`picture ${i}`]);
const when = (i) => new Date(Date.UTC(2026, 0, 1, 0, 0, i));

/** Draws eight, stars two, deletes and brings back; what was told is noted as it is told. */
const play = async (album, told) => {
  const attempt = async (work) => {
    try {
      await work();
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
    }
  };
  const ids = async (i) => (await album.list()).find(({ id }) => id.endsWith(digest(i)))?.id;
  for (let i = 0; i < 8; i += 1) {
    await attempt(async () => {
      await album.keep(png(i), digest(i), when(i));
      told.kept.add(i);
    });
    if (i !== 1 && i !== 2) continue;
    const id = await ids(i);
    if (id) {
      await attempt(async () => {
        await album.star(id, true);
        told.starred.add(i);
      });
    }
  }
  const id = await ids(7);
  if (!id) return;
  told.deleted.add(7);
  const removed = await album.remove(id);
  await attempt(() => album.putBack(removed));
};

export default async () => {
  const wrong = [];
  let faults = 0;
  for (const kind of KINDS) {
    for (let n = 1; ; n += 1) {
      const files = new Map();
      const told = { kept: new Set(), starred: new Set(), deleted: new Set() };
      const tab = faulty(files, n, kind);
      // the other tab has its own, of the same second
      const other = new Album(memory(files), { count: 100, bytes: 1e9 });
      await other.keep(png(100), digest(100), when(60));
      await Promise.race([play(new Album(tab, MOST), told), tab.death]);
      if (tab.calls < n) break;
      faults += 1;
      const album = new Album(memory(files), MOST);
      await album.sweep(Date.now() + 1e12);
      const name = `${kind} at ${n}`;
      const list = await album.list();
      const texts = new Map();
      for (const { id, starred } of list) texts.set(parseInt(id.slice(-16), 16), { text: await (await album.read(id)).text(), starred });
      for (const [i, { text }] of texts) if (text !== `picture ${i}`) wrong.push(`${name}: ${i} is ${text}`);
      if (new Set(list.map(({ id }) => id)).size !== list.length) wrong.push(`${name}: one is there twice`);
      if (!texts.has(100)) wrong.push(`${name}: the other tab's is gone`);
      for (const i of told.starred) if (!texts.get(i)?.starred) wrong.push(`${name}: ${i} had a star`);
      // of those without a star the newest stay: the other tab's is the newest of all
      const expected = [...told.kept].filter((i) => !told.starred.has(i) && !told.deleted.has(i)).slice(-(MOST.count - 2));
      for (const i of expected) if (!texts.has(i)) wrong.push(`${name}: ${i} was told to be kept`);
      if ([...files.values()].some(({ size }) => size === 0)) wrong.push(`${name}: an empty file stays`);
    }
  }
  return { wrong, faults };
};
