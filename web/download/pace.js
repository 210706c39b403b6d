// How fast something comes, and how long the rest takes: over the last seconds, so that a pause doesn't lie on for long.

const SPAN_MS = 8000;

export class Pace {
  #points = [];

  /** @param {number} done in bytes @param {number} now in ms */
  add(done, now) {
    const last = this.#points.at(-1);
    if (last && (done < last.done || now - last.now > SPAN_MS)) this.#points = [];
    // ten points a second are enough
    if (this.#points.length > 1 && now - this.#points.at(-2).now < 100) this.#points.pop();
    this.#points.push({ done, now });
    while (this.#points.length > 2 && now - this.#points[0].now > SPAN_MS) this.#points.shift();
  }

  /** Bytes a second; null before it can be told. */
  get speed() {
    const [first, last] = [this.#points[0], this.#points.at(-1)];
    return last && last.now - first.now > 500 ? (last.done - first.done) / (last.now - first.now) * 1000 : null;
  }

  /** Seconds for so many bytes. */
  left(bytes) {
    return this.speed ? bytes / this.speed : null;
  }
}
