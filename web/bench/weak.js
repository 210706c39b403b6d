// A GPU that offers less than this machine's: for trying what happens on one, in the worker that is
// about to open it. The adapter says so, and the device is asked for no more, as on such a machine.

/** What WebGPU promises everywhere (https://www.w3.org/TR/webgpu/#limits), of what compute needs. */
const DEFAULTS = {
  maxBindGroups: 4,
  maxBindingsPerBindGroup: 1000,
  maxBufferSize: 256 << 20,
  maxStorageBufferBindingSize: 128 << 20,
  maxStorageBuffersPerShaderStage: 8,
  maxUniformBufferBindingSize: 64 << 10,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupSizeZ: 64,
  maxComputeWorkgroupStorageSize: 16 << 10,
  maxComputeWorkgroupsPerDimension: 65535,
};

/** What each kind lacks: features (all, or some), and limits above these. */
const KINDS = {
  // Either of them brings subgroups along.
  "no-subgroups": { without: ["subgroups", "subgroup-size-control"] },
  "no-f16": { without: ["shader-f16"] },
  "no-timestamps": { without: ["timestamp-query"] },
  "default-limits": { without: [], limits: DEFAULTS },
  bare: { without: null, limits: DEFAULTS },
  // Less than there is anywhere, for pictures too large for a GPU to be small ones.
  "small-buffers": { without: [], limits: { ...DEFAULTS, maxBufferSize: 4 << 20, maxStorageBufferBindingSize: 4 << 20 } },
};

/**
 * Makes every GPU of this worker one of a weaker kind.
 * @param {?string} kind  one of KINDS; null leaves it as it is
 */
export function weaken(kind) {
  if (!kind || !self.GPUAdapter) return;
  const { without, limits } = KINDS[kind];
  const keeps = (feature) => without !== null && !without.includes(feature);
  const { prototype } = self.GPUAdapter;
  const { get: features } = /** @type {{get: () => GPUSupportedFeatures}} */ (Object.getOwnPropertyDescriptor(prototype, "features"));
  Object.defineProperty(prototype, "features", {
    configurable: true,
    get() { return new Set([...features.call(this)].filter(keeps)); },
  });
  // The device's as well: nobody grants less than the defaults.
  for (const { prototype } of limits ? [self.GPUAdapter, self.GPUDevice] : []) {
    const { get: offered } = /** @type {{get: () => any}} */ (Object.getOwnPropertyDescriptor(prototype, "limits"));
    Object.defineProperty(prototype, "limits", {
      get() {
        const all = offered.call(this);
        const fewer = {};
        for (const name in all) fewer[name] = name in limits ? Math.min(limits[name], all[name]) : all[name];
        return fewer;
      },
    });
  }
  const request = prototype.requestDevice;
  prototype.requestDevice = function ({ requiredFeatures = [], requiredLimits = {}, ...rest } = {}) {
    for (const name in limits) delete requiredLimits[name];
    return request.call(this, { ...rest, requiredLimits, requiredFeatures: requiredFeatures.filter(keeps) });
  };
}
