// On the store of training runs with a disk in memory. Scripts of random acts (steps, snapshots,
// previews, evaluations, rewinds, pauses, reloads, new runs, deletes) are played, and at each of their calls of the
// disk, in turn, the tab dies or the disk is full. What is left must be runs that go on from a whole state that
// was told to be kept, or from a newer one; never less, never other bytes. Returns how many faults were tried, and
// what was wrong.

import { Runs } from "../../../web/runs.js";
import { memory, locks } from "./run_disk.js";

export default async () => {
  const SCRIPTS = 4;
  const ACTS = 8;
  const KINDS = ["dies before", "dies after", "dies half way", "is full once", "is full from there on"];
  const METHODS = ["read", "write", "move", "remove", "list"];

  // ---- the disk ------------------------------------------------------------------------------------

  /** What a call leaves that is cut off: an empty file, a target that is gone, some of a folder. */
  const half = (files, method, [path, to]) => {
    if (method === "write" && !files.has(path)) files.set(path, new Blob([]));
    if (method === "move") files.delete(to);
    if (method === "remove") {
      const below = [...files.keys()].filter((name) => name === path || name.startsWith(`${path}/`));
      for (const name of below.slice(0, below.length >> 1)) files.delete(name);
    }
  };

  /** The same, in a tab that something happens to at the n-th call. */
  const faulty = (files, n, kind) => {
    const store = memory(files);
    let dead = false;
    const tab = { calls: 0, kind, full: false };
    tab.death = new Promise((resolve) => { tab.died = resolve; });
    for (const method of METHODS) {
      tab[method] = async (...words) => {
        if (dead) return new Promise(() => {}); // nobody is there any more
        tab.calls += 1;
        const here = tab.calls === n;
        if (kind.startsWith("is full")) {
          if (here) tab.full = true;
          const refused = tab.full && method === "write";
          if (refused && kind === "is full once") tab.full = false;
          if (!refused) return store[method](...words);
          throw new DOMException("full", "QuotaExceededError");
        }
        if (!here) return store[method](...words);
        dead = true;
        if (kind === "dies after") await store[method](...words);
        if (kind === "dies half way") half(files, method, words);
        tab.died();
        return new Promise(() => {});
      };
    }
    return tab;
  };

  // ---- what is played ------------------------------------------------------------------------------

  /** Numbers from a seed (mulberry32). */
  const random = (seed) => () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };

  const PICTURES = ["a.png", "b.png"];
  const fields = (title) => ({
    title, config: { steps: 100 }, model: { key: "m", title: "m" }, preview: null, summary: {}, secondsPerStep: 1,
    pictures: PICTURES.map((name, i) => ({ path: `pictures/${i}`, name, caption: "", role: "train", type: "image/png" })),
  });
  const contents = (title) => ({ dataset: new Blob([`${title} dataset`]), pictures: PICTURES.map((name) => new Blob([`${title} ${name}`])) });
  /** A state says which run it is of, which step, and in which try at that step. */
  const state = (title, step, life) => `${title} ${step} ${life}`;
  const text = async (run, path) => (await run.read(path))?.text();

  /**
   * A tab that plays a script. `told` is what a person was told to be kept: the newest commit that answered yes, by
   * run; `lives` counts rewinds, so that a step that is made anew is another state.
   */
  const play = async (disk, seed, told) => {
    const draw = random(seed);
    const pick = (list) => list[Math.floor(draw() * list.length)];
    let runs = new Runs(disk, null, { locks: locks() });
    let run = null;
    let [step, life, title] = [0, 0, ""];
    const log = () => Array.from({ length: step }, (_, i) => i + 1).join("\n");
    const note = (kept) => { if (kept) told.set(title, { step: run.record.step, life }); };
    const begin = async () => {
      await run?.close();
      title = `run${told.size}`;
      told.set(title, null);
      [step, life] = [0, 0];
      run = await runs.create(fields(title), contents(title));
      note(!run.unkept);
    };
    const acts = {
      step: async () => {
        step += 1 + Math.floor(draw() * 3);
        note(await run.keepState(step, new Blob([state(title, step, life)]), log(), draw() < 0.5 ? { evaluation: true } : null));
      },
      snapshot: async () => { step += 1; note(await run.addSnapshot(step, new Blob([state(title, step, life)]), log())); },
      "snapshot and preview at once": async () => {
        step += 1;
        run.addSnapshot(step, new Blob([state(title, step, life)]), log());
        note(await run.keepPreview(step, `print ${step} ${life}`, new Blob([`picture ${step} ${life}`])));
      },
      evaluation: async () => { note(await run.keepLog(log())); },
      rewind: async () => {
        const { snapshots } = run.record;
        if (snapshots.length === 0) return;
        step = pick(snapshots).step;
        life += 1;
        if (told.get(title)) told.set(title, { ...told.get(title), rewinding: step });
        run.truncate(step);
        run.record.status = "unfinished";
        note(await run.keepState(step, null, log()));
      },
      finish: async () => { run.record.status = "finished"; note(await run.addSnapshot(step += 1, new Blob([state(title, step, life)]), log())); },
      reload: async () => {
        const { id } = run.record;
        const whole = !run.unkept;
        await run.close();
        runs = new Runs(disk, null, { locks: locks() });
        if (!whole) return begin(); // what only that tab had is gone with it
        run = await runs.load(id);
        step = run.record.step;
      },
      "new run": begin,
      delete: async () => {
        const { id } = run.record;
        await run.close();
        told.set(title, { ...told.get(title), leaving: true });
        run = null;
        await runs.remove(id);
        await begin();
      },
    };
    await begin();
    for (let i = 0; i < ACTS; i += 1) await acts[pick(Object.keys(acts))]();
    return { run, log, title, step, life };
  };

  // ---- what must be so -----------------------------------------------------------------------------

  const wrong = [];
  /** Opens every run that is listed; each must be whole, and at least as far as was told. */
  const check = async (where, files, told) => {
    const runs = new Runs(memory(files), null, { locks: locks() });
    const listed = await runs.list();
    const seen = new Set();
    for (const { id, title, broken } of listed) {
      if (broken) {
        await runs.remove(id);
        continue;
      }
      const say = (words) => wrong.push(`${where}: ${title}: ${words}`);
      seen.add(title);
      let run;
      try {
        run = await runs.load(id);
      } catch (error) {
        say(error.message);
        continue;
      }
      const { record } = run;
      if (run.lost.length > 0) say(`says that it lost: ${run.lost.join(" ")}`);
      const { step: toldStep = 0, life: toldLife = 0, rewinding = toldStep } = told.get(title) ?? {};
      const [, at, lifeAt] = (record.state ? await text(run, record.state) : `${title} 0 0`).split(" ").map(Number);
      if (at !== record.step) say(`its state is of step ${at}, and its record says ${record.step}`);
      if (at < Math.min(toldStep, rewinding)) say(`step ${at}, and ${toldStep} was kept`);
      if (at > toldStep && lifeAt < toldLife) say(`step ${at} is one that was dropped by a rewind to ${toldStep}`);
      const lines = (await text(run, record.log) ?? "").split("\n").filter(Boolean);
      if (lines.length < record.step) say(`${lines.length} losses of ${record.step} steps`);
      for (const mark of record.snapshots) {
        const [name, made] = (await text(run, mark.path) ?? "").split(" ");
        if (name !== title || Number(made) !== mark.step) say(`the snapshot of step ${mark.step} is ${name} ${made}`);
        if (mark.step > record.step) say(`a snapshot of step ${mark.step} lies after step ${record.step}`);
        const drawn = mark.image && await text(run, mark.image);
        if (mark.image && !drawn?.startsWith(`picture ${mark.step} `)) say(`the preview of step ${mark.step} is ${drawn}`);
      }
      for (const { path, name } of record.pictures) if (await text(run, path) !== `${title} ${name}`) say(`${name} has other bytes`);
      if (record.pictures.length !== PICTURES.length || await text(run, "dataset.bin") !== `${title} dataset`) say("pictures or data set are not whole");
      // it goes on, and is kept
      const next = record.step + 1;
      const kept = await run.addSnapshot(next, new Blob([state(title, next, 0)]), lines.concat("next").join("\n"));
      if (!kept || run.unkept) say("a run that goes on is not kept");
      await run.close();
      const named = new Set(["run.json", ...Object.keys((await new Response(files.get(`${id}/run.json`)).json()).files)]);
      for (const path of files.keys()) if (path.startsWith(`${id}/`) && !named.has(path.slice(id.length + 1))) say(`${path} belongs to nobody`);
    }
    for (const [title, kept] of told) {
      if (kept && !kept.leaving && !seen.has(title)) wrong.push(`${where}: ${title} was kept up to step ${kept.step}, and is gone`);
    }
    for (const { id } of await runs.list()) await runs.remove(id);
    if (files.size > 0) wrong.push(`${where}: ${[...files.keys()]} stay after all runs are deleted`);
  };

  let faults = 0;
  for (let seed = 1; seed <= SCRIPTS; seed += 1) {
    for (const kind of KINDS) {
      for (let n = 1; ; n += 1) {
        const files = new Map();
        const tab = faulty(files, n, kind);
        const told = new Map();
        const where = `script ${seed}, ${kind} call ${n}`;
        const done = play(tab, seed, told).catch((error) => { wrong.push(`${where}: ${error.stack ?? error}`); });
        const end = await Promise.race([done, tab.death]);
        if (tab.calls < n) break; // it is through before the n-th call
        faults += 1;
        if (end && kind.startsWith("is full")) {
          const record = files.has(`${end.run.record.id}/run.json`) && await new Response(files.get(`${end.run.record.id}/run.json`)).json();
          const own = [...files.keys()].filter((path) => path.startsWith(`${end.run.record.id}/`)).map((path) => path.slice(path.indexOf("/") + 1));
          const spare = own.filter((path) => path !== "run.json" && record?.files?.[path] === undefined);
          if (spare.length > 0) wrong.push(`${where}: ${spare} take room for nothing`);
          // with room again, all that was in memory is on disk
          tab.full = false;
          if (!await end.run.keepLog(end.log()) || end.run.unkept) wrong.push(`${where}: not all of it is kept when there is room again`);
          else told.set(end.title, { step: end.run.record.step, life: end.life });
        }
        await check(where, files, told);
        if (wrong.length > 20) return { faults, wrong };
      }
    }
  }
  return { faults, wrong };
};
