// A picture's file as pixels. The browser decodes it beside the page, and turns it as its EXIF says.

/** @param {Blob} file @param {ImageBitmapOptions} [options] */
export function bitmapOf(file, options = {}) {
  return createImageBitmap(file, { imageOrientation: "from-image", ...options });
}

/**
 * @param {Blob} file
 * @param {number} longest   what is larger is made smaller
 * @param {string} [ground]  a colour that transparent pictures lie on
 * @returns {Promise<import("./protocol.js").Pixels>}
 */
export async function pixelsOf(file, longest, ground) {
  const whole = await bitmapOf(file);
  try {
    const scale = Math.min(1, longest / Math.max(whole.width, whole.height));
    const width = Math.max(1, Math.round(whole.width * scale));
    const height = Math.max(1, Math.round(whole.height * scale));
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser has no room for a picture of this size");
    if (ground) {
      context.fillStyle = ground;
      context.fillRect(0, 0, width, height);
    }
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, width, height);
    return { width, height, rgba: context.getImageData(0, 0, width, height).data };
  } finally {
    whole.close();
  }
}
