// One line on what this machine offers; the figures behind it folded away.

const NAMES = { webgpu: "WebGPU", cpu: "CPU" };

export class CapabilityLine {
  #details = document.querySelector("#capability");
  #list = this.#details.querySelector("dl");

  /** @param {import("../protocol.js").Capability} report */
  show(report) {
    const { backend, why, gpu, f16, maxBufferSize, maxStorageBufferBindingSize, threads, crossOriginIsolated } = report;
    this.#details.dataset.backend = backend;
    const gpuName = gpu && ([gpu.description || [gpu.vendor, gpu.architecture].filter(Boolean).join(" ") || "unnamed GPU", gpu.software && "software"].filter(Boolean).join(", "));
    const runs = backend === "webgpu" ? `WebGPU: ${gpuName ?? "a GPU"}, ${f16 ? "f16" : "f32 only"}` : `CPU: ${why}`;
    this.#details.querySelector("summary").textContent = `Runs on ${runs}`;
    /** @type {[string, ?string][]} */
    const facts = [
      ["Backend", `${NAMES[backend]}: ${why}`],
      ["GPU", gpuName ?? "none"],
      ["Half precision (shader-f16)", f16 ? "yes" : "no"],
      ["Largest buffer", size(maxBufferSize)],
      ["Largest binding", size(maxStorageBufferBindingSize)],
      ["Processor threads", String(threads)],
      ["Cross-origin isolated", crossOriginIsolated ? "yes" : "no"],
    ];
    this.#list.replaceChildren(...facts.filter(([, value]) => value).flatMap(line));
  }

  /** @param {import("../protocol.js").Opened} opened */
  opened({ threads, kernels: { kind, refused, milliseconds } }) {
    if (threads > 1) this.#list.append(...line(["Threads of the CPU backend", String(threads)]));
    const checked = `${kind}, checked in ${Math.round(milliseconds)} ms`;
    const without = refused.length ? `; computed wrongly here and not used: ${refused.join(", ")}` : "";
    this.#list.append(...line(["Kernels", kind ? checked + without : "off"]));
  }
}

function line([term, value]) {
  const dt = document.createElement("dt");
  const dd = document.createElement("dd");
  dt.textContent = term;
  dd.textContent = value;
  return [dt, dd];
}

function size(bytes) {
  return bytes ? `${Math.round(bytes / 2 ** 20).toLocaleString("en")} MiB` : null;
}
