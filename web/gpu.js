// What every worker does before its module opens a GPU.

const TIMESTAMPS = "timestamp-query";

/**
 * Makes each adapter say that it can take times, and asks for that only where it is so. The engine's
 * GPU runtime (cubecl 0.11) stops at once on an adapter without it, in a browser, though nothing but
 * autotuning would ever take a time, and that isn't used here.
 */
export function claimTimestamps() {
  const { prototype } = self.GPUAdapter ?? {};
  if (!prototype) return;
  const { get: offered } = /** @type {{get: () => GPUSupportedFeatures}} */ (Object.getOwnPropertyDescriptor(prototype, "features"));
  Object.defineProperty(prototype, "features", {
    configurable: true,
    get() { return new Set([...offered.call(this), TIMESTAMPS]); },
  });
  const request = prototype.requestDevice;
  prototype.requestDevice = function ({ requiredFeatures = [], ...rest } = {}) {
    const features = offered.call(this);
    return request.call(this, { ...rest, requiredFeatures: [...requiredFeatures].filter((feature) => features.has(feature)) });
  };
}

/**
 * Tells of the first device that is gone, whatever took it: nothing here ever gives one back.
 * @returns {Promise<GPUDeviceLostInfo>}
 */
export function deviceLost() {
  const { promise, resolve } = Promise.withResolvers();
  const { prototype } = self.GPUAdapter ?? {};
  if (!prototype) return promise;
  const request = prototype.requestDevice;
  prototype.requestDevice = async function (...wanted) {
    const device = await request.apply(this, wanted);
    device.lost.then(resolve);
    return device;
  };
  return promise;
}
