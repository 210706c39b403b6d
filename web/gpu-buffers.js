// Gives a GPU's memory back as soon as the engine is done with it.
//
// What the engine frees on WebGPU is a reference that its module lets go: wgpu 30 destroys no buffer, for a
// command that isn't submitted may still name it, and leaves it to the browser's garbage collector. That
// one sees small objects and no hurry: gigabytes of weights or of a training step's tensors stay.
//
// So this file remembers every buffer, looks now and then which of them the module still refers to, and
// destroys the others once no open encoder can name them.

/** It looks again after so many bytes of new buffers, a part of all at most, or after so many milliseconds. */
const BYTES = 2 ** 24;
const PART = 1 / 16;
const PAUSE = 200;

export class GpuBuffers {
  /** References that the module holds (wasm-bindgen's table). @type {?WebAssembly.Table} */
  #table = null;
  /** Those that the module refers to, and their bytes. @type {Map<GPUBuffer, number>} */
  #held = new Map();
  /** Those that it let go, and the newest encoder that may name them. @type {Map<GPUBuffer, number>} */
  #dropped = new Map();
  /** Encoders that took a command and weren't submitted: their numbers. @type {Map<GPUCommandEncoder, number>} */
  #open = new Map();
  /** @type {WeakMap<GPUCommandBuffer, GPUCommandEncoder>} */
  #finished = new WeakMap();
  #encoders = 0;
  #bytes = 0;
  #peak = 0;
  #since = 0;
  #looked = 0;
  #timer = 0;

  /** Bytes of all buffers that the GPU has for this worker. */
  get bytes() { return this.#bytes; }

  /** The most there were since this was last asked. */
  takePeak() {
    const peak = this.#peak;
    this.#peak = this.#bytes;
    return peak;
  }

  /** @param {WebAssembly.Table} table */
  belongTo(table) { this.#table = table; }

  /** Sees every buffer and every submission of this worker from now on. */
  watch() {
    const { GPUDevice, GPUQueue, GPUCommandEncoder } = self;
    if (!GPUDevice) return;
    const { createBuffer } = GPUDevice.prototype;
    const created = (buffer) => this.#created(buffer);
    GPUDevice.prototype.createBuffer = function (wanted) { return created(createBuffer.call(this, wanted)); };
    const opened = (encoder) => this.#open.has(encoder) || this.#open.set(encoder, ++this.#encoders);
    for (const name of ["beginComputePass", "copyBufferToBuffer", "clearBuffer"]) {
      const command = GPUCommandEncoder.prototype[name];
      GPUCommandEncoder.prototype[name] = function (...wanted) {
        opened(this);
        return command.apply(this, wanted);
      };
    }
    const { finish } = GPUCommandEncoder.prototype;
    const finished = this.#finished;
    GPUCommandEncoder.prototype.finish = function (wanted) {
      const commands = finish.call(this, wanted);
      finished.set(commands, this);
      return commands;
    };
    const { submit } = GPUQueue.prototype;
    const submitted = (all) => this.#submitted(all);
    GPUQueue.prototype.submit = function (all) {
      submit.call(this, all);
      submitted(all);
    };
  }

  /** @param {GPUBuffer} buffer */
  #created(buffer) {
    this.#held.set(buffer, buffer.size);
    this.#bytes += buffer.size;
    this.#since += buffer.size;
    this.#peak = Math.max(this.#peak, this.#bytes);
    return buffer;
  }

  /** @param {Iterable<GPUCommandBuffer>} all */
  #submitted(all) {
    for (const commands of all) {
      const encoder = this.#finished.get(commands);
      if (encoder) this.#open.delete(encoder);
    }
    if (this.#since >= Math.min(BYTES, this.#bytes * PART) || performance.now() - this.#looked >= PAUSE) this.#look();
    else if (this.#dropped.size) this.#destroy();
    // What is let go after the last submission.
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.#look();
    }, PAUSE);
  }

  #look() {
    if (!this.#table) return;
    this.#since = 0;
    this.#looked = performance.now();
    const gone = new Set(this.#held.keys());
    for (let i = this.#table.length - 1; i >= 0; i--) gone.delete(this.#table.get(i));
    for (const buffer of gone) {
      this.#held.delete(buffer);
      this.#dropped.set(buffer, this.#encoders);
    }
    this.#destroy();
  }

  #destroy() {
    const oldest = Math.min(...this.#open.values());
    for (const [buffer, newest] of this.#dropped) {
      if (newest >= oldest) continue;
      this.#dropped.delete(buffer);
      this.#bytes -= buffer.size;
      buffer.destroy();
    }
  }
}
