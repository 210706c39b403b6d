// On the library's own modules with a store in memory: the tab dies, or the disk is full, at every
// single call of the store. What is left must be whole entries, and downloads that go on; what was wanted must work
// at the next visit. Returns how many faults were tried, and what was wrong.

import { Shelf } from "../../../web/library/shelf.js";
import { Fetcher } from "../../../web/download/fetcher.js";

export default async () => {
  const CHUNK = 64;
  const KINDS = ["dies before", "dies after", "dies half way", "is full"];
  const METHODS = ["entries", "commit", "forget", "names", "read", "append", "remove"];

  /** What a browser keeps: survives every tab. */
  const disk = () => ({ entries: new Map(), files: new Map() });
  const memory = ({ entries, files }) => ({
    entries: async () => [...entries.values()].map((entry) => structuredClone(entry)),
    commit: async (entry) => { entries.set(entry.id, structuredClone(entry)); },
    forget: async (id) => { entries.delete(id); },
    names: async () => [...files.keys()],
    read: async (name) => (files.has(name) ? new Blob([files.get(name)]) : null),
    append: async (name, at, bytes) => {
      const before = files.get(name) ?? new Uint8Array(0);
      const whole = new Uint8Array(at + bytes.length);
      whole.set(before.subarray(0, at));
      whole.set(bytes, at);
      files.set(name, whole);
    },
    remove: async (name) => { files.delete(name); },
  });

  /** The same, in a tab that something happens to at the n-th call. */
  const faulty = (store, n, kind) => {
    let calls = 0;
    let dead = false;
    const tab = { get calls() { return calls; }, get happened() { return calls >= n; } };
    for (const method of METHODS) {
      tab[method] = async (...words) => {
        if (dead) return new Promise(() => {}); // nobody is there any more
        calls += 1;
        if (calls !== n) return store[method](...words);
        if (kind === "is full") {
          if (method === "append") await store.append(words[0], words[1], words[2].subarray(0, words[2].length >> 1));
          if (method !== "append" && method !== "commit") return store[method](...words);
          throw new DOMException("full", "QuotaExceededError");
        }
        dead = true;
        if (kind === "dies after") await store[method](...words);
        if (kind === "dies half way" && method === "append") await store.append(words[0], words[1], words[2].subarray(0, words[2].length >> 1));
        tab.died();
        return new Promise(() => {});
      };
    }
    tab.death = new Promise((resolve) => { tab.died = resolve; });
    return tab;
  };

  /** Locks go with the tab that holds them. */
  const locks = () => {
    const held = new Map();
    return {
      async request(name, options, work = options) {
        if (options.ifAvailable && held.has(name)) return work(null);
        while (held.has(name)) await held.get(name);
        let free;
        held.set(name, new Promise((resolve) => { free = resolve; }));
        try {
          return await work({ name });
        } finally {
          held.delete(name);
          free();
        }
      },
      query: async () => ({ held: [...held.keys()].map((name) => ({ name })) }),
    };
  };

  const bytes = (length, seed) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 7 + (i >> 6)) & 255);
  const files = {
    model: [{ path: "unet/weights.safetensors", blob: new Blob([bytes(200, 1)]) }, { path: "model_index.json", blob: new Blob([bytes(20, 2)]) }, { path: "empty.txt", blob: new Blob([]) }],
    adapter: [{ path: "ink.safetensors", blob: new Blob([bytes(130, 3)]) }],
    other: [{ path: "ink.safetensors", blob: new Blob([bytes(130, 4)]) }],
    download: [{ path: "model.bin", blob: new Blob([bytes(330, 6)]) }, { path: "config.json", blob: new Blob([bytes(7, 7)]) }],
  };
  const hex = async (blob) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const sums = await Promise.all(files.download.map(({ blob }) => hex(blob)));
  const parts = files.download.map(({ path, blob }, i) => ({ path, url: `https://host.example/${path}`, size: i === 0 ? blob.size : null, wanted: sums[i] }));

  /** A host whose answers break off after some bytes, each time, with an error or without. */
  let cuts = 0;
  const host = (after) => ({
    async bytes(url, from) {
      const whole = new Uint8Array(await files.download.find(({ path }) => url.endsWith(path)).blob.arrayBuffer());
      const pieces = async function* () {
        const end = Math.min(whole.length, from + after);
        for (let at = from; at < end; at += 30) yield whole.slice(at, Math.min(end, at + 30));
        if (end < whole.length && (cuts += 1) % 2) throw new Error("cut");
      };
      const head = { status: from > 0 ? 206 : 200, host: "host.example", type: "application/octet-stream", length: whole.length - from, start: from, total: from > 0 ? whole.length : null };
      return { head, pieces: pieces(), close() {} };
    },
  });
  const OVERLAP = 16;
  const BREAKS_AFTER = 100;
  const download = async (shelf, id) => {
    const unfinished = (await shelf.list()).find(({ by, state }) => by === "download" && state === "partial");
    const entry = unfinished ?? await shelf.begin({ id, kind: "model", name: "download" }, parts, { page: "https://host.example/", hosts: [], licence: null });
    const signal = new AbortController().signal;
    const fetcher = new Fetcher(shelf.store, host(BREAKS_AFTER), { wait: async () => {}, chunk: CHUNK, overlap: OVERLAP });
    await shelf.fetch(entry.id, fetcher, { signal, onProgress() {} });
  };
  const keep = (shelf, what, id) => shelf.keep({ id, kind: what === "model" ? "model" : "adapter", name: what }, files[what]);
  const acts = {
    keep: (shelf) => keep(shelf, "model", "m1"),
    "keep beside another": (shelf) => keep(shelf, "other", "o1"),
    "keep again": (shelf) => keep(shelf, "adapter", "a2"),
    rename: (shelf) => shelf.change("a1", { name: "black ink" }),
    delete: (shelf) => shelf.remove("a1"),
    download: (shelf) => download(shelf, "d1"),
    sweep: (shelf) => shelf.sweep(),
  };

  const wrong = [];
  const same = async (a, b) => {
    const [x, y] = await Promise.all([a, b].map(async (blob) => new Uint8Array(await blob.arrayBuffer())));
    return x.length === y.length && x.every((byte, i) => byte === y[i]);
  };
  /** Every entry is whole to the byte, and no file is without one. */
  const check = async (where, kept) => {
    const shelf = new Shelf(memory(kept), locks(), CHUNK);
    await shelf.sweep();
    const entries = await shelf.list();
    for (const entry of entries) {
      if (entry.by === "download" && entry.state === "partial") {
        for (const { path, name, have, sha256, size } of entry.files) {
          const there = kept.files.get(name) ?? new Uint8Array(0);
          const whole = new Uint8Array(await files.download.find((file) => file.path === path).blob.arrayBuffer());
          if ((sha256 ? size : have) > there.length) wrong.push(`${where}: ${path} has less than is noted`);
          if (there.subarray(0, have).some((byte, i) => byte !== whole[i])) wrong.push(`${where}: ${path} has other bytes`);
        }
        continue;
      }
      if (entry.state !== "whole" || entry.gone) wrong.push(`${where}: ${entry.name} is ${entry.gone ? "gone" : entry.state}`);
      const wanted = files[{ m: "model", o: "other", d: "download", a: "adapter" }[entry.id[0]]];
      const opened = await shelf.open(entry.id).catch((error) => wrong.push(`${where}: ${error.message}`));
      for (const { path, blob } of opened.files ?? []) {
        if (!await same(blob, wanted.find((file) => file.path === path).blob)) wrong.push(`${where}: ${path} of ${entry.name} has other bytes`);
      }
    }
    const named = new Set(entries.flatMap((entry) => entry.files.map(({ name }) => name)));
    for (const name of kept.files.keys()) if (!named.has(name)) wrong.push(`${where}: the file ${name} belongs to nobody`);
    return { shelf, entries };
  };

  let faults = 0;
  for (const [name, act] of Object.entries(acts)) {
    for (const kind of KINDS) {
      for (let n = 1; ; n++) {
        const kept = disk();
        const before = new Shelf(memory(kept), locks(), CHUNK);
        await keep(before, "adapter", "a1");
        // what a tab that died earlier left behind
        if (name === "sweep") {
          kept.entries.set("x", { ...structuredClone(kept.entries.get("a1")), id: "x", state: "leaving", files: [{ path: "x", name: "x.0", size: 1 }] });
          kept.entries.set("y", { ...structuredClone(kept.entries.get("a1")), id: "y", state: "partial", files: [{ path: "y", name: "y.0", size: 9 }] });
          for (const file of ["x.0", "y.0", "z.0"]) kept.files.set(file, bytes(1, 5));
        }
        const tab = faulty(memory(kept), n, kind);
        const done = Promise.resolve(act(new Shelf(tab, locks(), CHUNK))).then(() => null, (error) => error);
        const error = await Promise.race([done, tab.death]);
        if (!tab.happened) break; // it is through before the n-th call
        faults += 1;
        const where = `${name}, ${kind} call ${n}`;
        if (error && !["QuotaExceededError", "Full"].includes(error.name)) wrong.push(`${where}: ${error.message}`);
        await check(where, kept);
        // the next visit can do what this one could not
        const { shelf } = await check(where, kept);
        const gone = !await shelf.entry("a1");
        if (gone && name !== "delete") wrong.push(`${where}: the adapter of before is gone`);
        if (!(gone && (name === "delete" || name === "rename"))) {
          const downloaded = name === "download" && (await shelf.list()).some(({ id, state }) => id[0] === "d" && state === "whole");
          if (name === "keep" || name === "keep beside another") await keep(shelf, name === "keep" ? "model" : "other", name === "keep" ? "m2" : "o2");
          else if (!downloaded) await act(shelf);
        }
        await check(`${where}, then again`, kept);
        const { entries } = await check(`${where}, then again`, kept);
        const count = { keep: 2, "keep beside another": 2, "keep again": 1, rename: 1, delete: 0, sweep: 1, download: 2 }[name];
        if (entries.length !== count) wrong.push(`${where}, then again: ${entries.length} entries instead of ${count}`);
      }
    }
  }
  return { faults, wrong };
};
