// Decodes pictures, which may be large, where the page never waits for it.

import { pixelsOf } from "./decode.js";
import { packError } from "./protocol.js";
import { nameOf } from "./start/name.js";

self.addEventListener("message", async ({ data: { id, file, longest, ground } }) => {
  try {
    const pixels = await pixelsOf(file, longest, ground);
    const result = { pixels, name: await nameOf(pixels) };
    postMessage({ id, result }, [pixels.rgba.buffer]);
  } catch (error) {
    postMessage({ id, error: packError(error) });
  }
});
