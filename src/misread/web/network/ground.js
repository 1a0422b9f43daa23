// Removes the background of a photographed or drawn object, as `_remove_ground` in data/geometry.py.

import { greyOf, picture, roundEven } from "./picture.js";
import { BICUBIC, BOX, resize } from "./resize.js";

const LONGEST = 512; // pixels; finer detail is noise

/** Light strokes on a dark background, with shading and noise -> strokes 0..255 on black. */
export function removeGround(ink) {
  const longest = Math.max(ink.height, ink.width);
  if (longest > LONGEST) {
    const side = (size) => Math.max(1, roundEven((size * LONGEST) / longest));
    ink = resize(ink, side(ink.height), side(ink.width));
  }
  const { height, width } = ink;
  const grey = medians(ink.channels === 1 ? ink : picture(height, width, 1, Uint8Array.from(greyOf(ink), roundEven)));
  const small = resize(grey, Math.max(8, height >> 2), Math.max(8, width >> 2), BOX);
  const window = Math.max(3, (Math.max(small.height, small.width) >> 2) | 1);
  const ground = resize(blurred(minima(small, window), window / 2), height, width, BICUBIC);
  const heights = grey.data.map((value, i) => Math.max(value - ground.data[i], 0));
  const counts = new Float64Array(256);
  for (const value of heights) counts[value]++;
  const share = shares(counts);
  if (ink.channels === 1) {
    const levels = Uint8Array.from(share, (one) => roundEven(255 * one));
    return picture(height, width, 1, heights.map((value) => levels[value]));
  }
  return picture(height, width, 3, ink.data.map((value, i) => (share[heights[Math.floor(i / 3)]] > 0 ? value : 0)));
}

/** For each height 0..255 above the ground, its share 0..1: cut below Otsu's threshold, and stretched. */
function shares(counts) {
  const threshold = otsu(counts);
  const [low, high] = [counts.map((n, value) => (value <= threshold ? n : 0)), counts.map((n, value) => (value > threshold ? n : 0))];
  const level = quantile(low, 0.5) ?? 0;
  const top = quantile(high, 0.9) ?? 255;
  const cut = (level + threshold) / 2; // keeps the soft edges of strokes
  return Float64Array.from(counts, (_, value) => Math.min(Math.max((value - cut) / Math.max(top - cut, 1), 0), 1));
}

/** Of values that are given by how often each of 0..255 is there, with linear interpolation; undefined of none. */
function quantile(counts, share) {
  const total = counts.reduce((a, b) => a + b, 0);
  if (!total) return undefined;
  const at = (place) => {
    let [value, seen] = [0, counts[0]];
    while (seen <= place) seen += counts[++value];
    return value;
  };
  const place = (total - 1) * share;
  const [low, high] = [at(Math.floor(place)), at(Math.ceil(place))];
  const part = place - Math.floor(place);
  return part < 0.5 ? low + (high - low) * part : high - (high - low) * (1 - part);
}

/** The threshold between the two groups of values 0..255 that differ most from each other. Source: Otsu 1979. */
function otsu(counts) {
  const sums = (order) => {
    const [n, mean] = [new Float64Array(256), new Float64Array(256)];
    let [count, sum] = [0, 0];
    for (const i of order) {
      count += counts[i];
      sum += counts[i] * (i + 0.5);
      n[i] = count;
      mean[i] = sum / Math.max(count, 1);
    }
    return { n, mean };
  };
  const order = Array.from({ length: 256 }, (_, i) => i);
  const below = sums(order);
  const above = sums(order.reverse());
  let [best, found] = [-1, 0];
  for (let i = 0; i < 255; i++) {
    const between = below.n[i] * above.n[i + 1] * (below.mean[i] - above.mean[i + 1]) ** 2;
    if (between > best) [best, found] = [between, i];
  }
  return found + 0.5;
}

const clamp = (at, size) => Math.min(Math.max(at, 0), size - 1);

const middle = (a, b, c) => Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));

/**
 * The median of each pixel and its eight neighbours; pixels from outside repeat those of the edge. With the three columns
 * sorted, it is the median of: the largest minimum, the median of the medians, the smallest maximum.
 */
function medians({ height, width, data }) {
  const result = new Uint8Array(data.length);
  const [low, mid, high] = [new Uint8Array(width + 2), new Uint8Array(width + 2), new Uint8Array(width + 2)];
  for (let y = 0; y < height; y++) {
    const rows = [y - 1, y, y + 1].map((at) => clamp(at, height) * width);
    for (let x = 0; x < width + 2; x++) {
      const column = clamp(x - 1, width);
      const [a, b, c] = [data[rows[0] + column], data[rows[1] + column], data[rows[2] + column]];
      low[x] = Math.min(a, b, c);
      mid[x] = middle(a, b, c);
      high[x] = Math.max(a, b, c);
    }
    for (let x = 0; x < width; x++) {
      result[y * width + x] = middle(
        Math.max(low[x], low[x + 1], low[x + 2]),
        middle(mid[x], mid[x + 1], mid[x + 2]),
        Math.min(high[x], high[x + 1], high[x + 2]),
      );
    }
  }
  return picture(height, width, 1, result);
}

/** The smallest value in a square window around each pixel. */
function minima(image, window) {
  const reach = window >> 1;
  return twice(image, (line) =>
    line.map((_, at) => {
      let least = 255;
      for (let i = Math.max(at - reach, 0); i < Math.min(at + reach + 1, line.length); i++) least = Math.min(least, line[i]);
      return least;
    }),
  );
}

/** A Gaussian blur as Pillow approximates it: three box blurs along the rows, then three along the columns. */
function blurred(image, sigma) {
  const radius = boxRadius(sigma, 3);
  return twice(image, (line) => [1, 2, 3].reduce((done) => boxBlur(done, radius), line));
}

/** The radius of `passes` box blurs that have this sigma. Source: Gwosdek et al. 2011, as in Pillow's BoxBlur.c. */
function boxRadius(sigma, passes) {
  const f = Math.fround; // Pillow computes it in single precision
  const variance = f(f(f(sigma) * f(sigma)) / passes);
  const length = f(Math.sqrt(12 * variance + 1));
  const whole = f(Math.floor((length - 1) / 2));
  const part = f((2 * whole + 1) * f(whole * (whole + 1) - f(3 * variance)));
  return f(whole + f(part / f(6 * f(variance - f((whole + 1) * (whole + 1))))));
}

/** The mean over a box around each value. The radius has a fraction: that is the weight of the two outermost values. */
function boxBlur(line, radius) {
  const whole = Math.trunc(radius);
  const weight = Math.trunc(Math.fround(2 ** 24 / Math.fround(radius * 2 + 1)));
  const far = Math.floor((2 ** 24 - (whole * 2 + 1) * weight) / 2);
  const at = (i) => line[clamp(i, line.length)];
  let sum = 0;
  for (let i = -whole - 1; i < whole; i++) sum += at(i);
  return line.map((_, i) => {
    sum += at(i + whole) - at(i - whole - 1);
    return Math.floor((sum * weight + (at(i - whole - 1) + at(i + whole + 1)) * far + 2 ** 23) / 2 ** 24);
  });
}

/** A function of a line of pixels, applied to all rows, then to all columns. */
function twice({ height, width, data }, change) {
  const result = new Uint8Array(data);
  for (let y = 0; y < height; y++) result.set(change(result.slice(y * width, (y + 1) * width)), y * width);
  for (let x = 0; x < width; x++) {
    change(Uint8Array.from({ length: height }, (_, y) => result[y * width + x])).forEach((value, y) => (result[y * width + x] = value));
  }
  return picture(height, width, 1, result);
}
