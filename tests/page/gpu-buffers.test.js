// What the engine has let go is destroyed, and nothing before its commands are on their way.

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { GpuBuffers } from "../../web/gpu-buffers.js";

class GPUBuffer {
  destroyed = false;
  constructor(size) { this.size = size; }
  destroy() { this.destroyed = true; }
}
class GPUCommandEncoder {
  beginComputePass() { return {}; }
  copyBufferToBuffer() {}
  clearBuffer() {}
  finish() { return {}; }
}
const made = () => {
  // As a browser has them: what is watched is the prototypes' methods.
  self.GPUDevice = class {
    createBuffer({ size }) { return new GPUBuffer(size); }
    createCommandEncoder() { return new self.GPUCommandEncoder(); }
  };
  self.GPUQueue = class { submit() {} };
  self.GPUCommandEncoder = class extends GPUCommandEncoder {
    beginComputePass() { return super.beginComputePass(); }
    copyBufferToBuffer() { return super.copyBufferToBuffer(); }
    clearBuffer() { return super.clearBuffer(); }
    finish() { return super.finish(); }
  };
  const buffers = new GpuBuffers();
  buffers.watch();
  // What the module refers to.
  const references = [];
  buffers.belongTo(/** @type {any} */ ({ get length() { return references.length; }, get: (i) => references[i] }));
  const device = new self.GPUDevice();
  const queue = new self.GPUQueue();
  const keep = (size) => {
    const buffer = device.createBuffer({ size });
    references.push(buffer);
    return buffer;
  };
  const drop = (buffer) => references.splice(references.indexOf(buffer), 1);
  const submit = (encoder = device.createCommandEncoder()) => queue.submit([encoder.finish()]);
  return { buffers, device, references, keep, drop, submit };
};

const LARGE = 2 ** 26;

beforeEach(() => {
  globalThis.self = /** @type {any} */ (globalThis);
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
});

test("what is held stays, what was let go is destroyed", () => {
  const { buffers, keep, drop, submit } = made();
  const [stays, goes] = [keep(LARGE), keep(2 * LARGE)];
  assert.equal(buffers.bytes, 3 * LARGE);
  submit();
  assert.equal(stays.destroyed || goes.destroyed, false);
  drop(goes);
  keep(LARGE);
  submit();
  assert.equal(goes.destroyed, true);
  assert.equal(stays.destroyed, false);
  assert.equal(buffers.bytes, 2 * LARGE);
});

test("one that is referred to twice goes with the second reference", () => {
  const { keep, drop, submit, references } = made();
  const buffer = keep(LARGE);
  references.push(buffer);
  drop(buffer);
  submit();
  assert.equal(buffer.destroyed, false);
  drop(buffer);
  keep(LARGE);
  submit();
  assert.equal(buffer.destroyed, true);
});

test("a command that isn't submitted keeps what it may name", () => {
  const { device, keep, drop, submit } = made();
  const buffer = keep(LARGE);
  const encoder = device.createCommandEncoder();
  encoder.beginComputePass();
  drop(buffer);
  // Another encoder's submission, as uploads have it.
  submit();
  assert.equal(buffer.destroyed, false, "the first encoder may name it");
  submit(encoder);
  assert.equal(buffer.destroyed, true);
});

test("an encoder without a command keeps nothing", () => {
  const { device, keep, drop, submit } = made();
  const buffer = keep(LARGE);
  device.createCommandEncoder();
  drop(buffer);
  submit();
  assert.equal(buffer.destroyed, true);
});

test("what goes after the last submission goes a moment later", () => {
  const { keep, drop, submit, buffers } = made();
  const buffer = keep(LARGE);
  submit();
  drop(buffer);
  assert.equal(buffer.destroyed, false);
  mock.timers.tick(1000);
  assert.equal(buffer.destroyed, true);
  assert.equal(buffers.bytes, 0);
});

test("the peak is that since it was asked for", () => {
  const { keep, drop, submit, buffers } = made();
  const buffer = keep(LARGE);
  drop(buffer);
  submit();
  assert.deepEqual([buffers.bytes, buffers.takePeak(), buffers.takePeak()], [0, LARGE, 0]);
});

test("without a GPU nothing is watched", () => {
  delete self.GPUDevice;
  const buffers = new GpuBuffers();
  buffers.watch();
  assert.equal(buffers.bytes, 0);
});
