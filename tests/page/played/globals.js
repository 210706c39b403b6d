// What the page's modules look for as they are loaded, and Node.js calls otherwise.

globalThis.self ??= globalThis;
