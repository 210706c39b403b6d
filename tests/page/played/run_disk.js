// What the scripts that play training runs stand on: a disk in memory, and a tab's locks.

/** A map of paths: what a browser keeps, and what survives every tab. */
export const memory = (files) => ({
  read: async (path) => files.get(path) ?? null,
  write: async (path, data) => { files.set(path, new Blob([data])); },
  move: async (from, to) => {
    if (!files.has(from)) throw new DOMException(from, "NotFoundError");
    files.set(to, files.get(from));
    files.delete(from);
  },
  remove: async (path) => {
    for (const name of [...files.keys()]) if (name === path || name.startsWith(`${path}/`)) files.delete(name);
  },
  list: async (path) => {
    const found = new Map();
    for (const [name, { size }] of files) {
      if (path && !name.startsWith(`${path}/`)) continue;
      const [first, ...rest] = name.slice(path ? path.length + 1 : 0).split("/");
      found.set(first, { name: first, folder: rest.length > 0, size: rest.length > 0 ? 0 : size, modified: 1 });
    }
    return [...found.values()];
  },
});

/** Locks go with the tab that holds them. */
export const locks = (held = new Set()) => {
  return {
    async request(name, options, work) {
      if (held.has(name)) return work(null);
      held.add(name);
      try {
        return await work({ name });
      } finally {
        held.delete(name);
      }
    },
    query: async () => ({ held: [...held].map((name) => ({ name })) }),
  };
};
