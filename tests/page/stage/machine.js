// The machine that the worker finds: the GPU that the script says, or none. Loaded before the worker's own modules.

import { say } from "./play.js";

const { gpu } = say("machine");

class Device {
  #lose = (_why) => {};
  lost = new Promise((resolve) => { this.#lose = resolve; });

  /** What a driver that resets does. */
  lose(message) {
    this.#lose({ reason: "unknown", message });
  }
}

class Adapter {
  info = { vendor: gpu.vendor, architecture: gpu.architecture, description: "", isFallbackAdapter: Boolean(gpu.software) };
  limits = { maxBufferSize: 2 ** 31, maxStorageBufferBindingSize: 2 ** 31 - 4 };

  get features() { return new Set(["shader-f16"]); }

  async requestDevice() { return new Device(); }
}

Object.defineProperty(navigator, "gpu", { value: gpu ? { requestAdapter: async () => new Adapter() } : undefined });
if (gpu) Object.defineProperty(self, "GPUAdapter", { value: Adapter, configurable: true });
