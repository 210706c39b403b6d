// The settings that a picture has where nobody says otherwise.

export const GUIDANCE = 7.5;

/** What no model asks for. */
export const PLAIN = {
  negativePrompt: "",
  emphasis: "original",
  clipSkip: 1,
  rng: /** @type {"cpu"|"nv"} */ ("cpu"),
  variationSeed: "0",
  variationStrength: 0,
  spacing: "",
  schedule: "",
};

/** Of a model. @param {import("./protocol.js").ModelReport} report */
export function usualSettings({ family, scheduler, native: { width, height } }) {
  return {
    ...PLAIN,
    prompt: "",
    steps: family.defaults?.steps ?? 20,
    guidance: family.defaults?.guidance ?? GUIDANCE,
    scheduler,
    eta: 0.3,
    width,
    height,
    hires: null,
  };
}
