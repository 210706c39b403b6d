// Random numbers that are the same in every browser: weights and inputs of the benchmark.

/** Fills with numbers spread evenly over `middle` ± `half`, chosen by the name alone. */
export function fill(values, name, half, middle = 0) {
  // FNV-1a, so that each name starts elsewhere, and xorshift32 (Marsaglia 2003, "Xorshift RNGs").
  let state = 2166136261;
  for (const letter of name) state = Math.imul(state ^ letter.charCodeAt(0), 16777619);
  state |= 1;
  const scale = half / 2 ** 31;
  for (let i = 0; i < values.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    values[i] = middle + state * scale;
  }
  return values;
}
