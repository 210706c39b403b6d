// What the package `lorakeet` offers. Nothing here asks for a document: a worker can use it too.

export { Adapter } from "./adapter.js";
export { Drawing } from "./drawing.js";
export { filesOfDrop, filesOfInput, sortFiles } from "../web/files.js";
export { Lorakeet } from "./lorakeet.js";
export { Training } from "./training.js";
export { Work } from "./work.js";
