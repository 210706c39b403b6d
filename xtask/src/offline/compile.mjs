// Compiles WGSL as Chrome does, on whatever Vulkan driver there is; the driver prints what it made of it.
// usage: node compile.mjs FILE...    (a line `@@@ FILE` comes before what is printed of each)
import { readFileSync } from "node:fs";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);
// Kept where nothing collects them: their promises would never settle then.
globalThis.gpu = create(["backend=vulkan"]);
const adapter = await gpu.requestAdapter();
const requiredFeatures = ["shader-f16"].filter((feature) => adapter.features.has(feature));
globalThis.device = await adapter.requestDevice({ requiredFeatures });
for (const file of process.argv.slice(2)) {
  process.stderr.write(`\n@@@ ${file}\n`);
  for (const kind of ["internal", "validation"]) device.pushErrorScope(kind);
  const module = device.createShaderModule({ code: readFileSync(file, "utf8") });
  device.createComputePipeline({ layout: "auto", compute: { module } });
  for (let scopes = 2; scopes > 0; scopes -= 1) {
    const error = await device.popErrorScope();
    if (error) process.stderr.write(`\n@@@error ${error.message.split("\n")[0]}\n`);
  }
}
process.exit(0);
