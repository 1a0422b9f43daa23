// Resizing with antialiasing, with the arithmetic of Pillow's Resample.c: fixed-point weights.

import { picture } from "./picture.js";

const BITS = 22; // of a weight after the point

function cubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

export const BICUBIC = { reach: 2, weight: cubic };
export const BOX = { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };

/** For each of `to` outputs, the first of the `from` inputs that it is made of, and their weights. */
function mixtures(from, to, { reach, weight }) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach * stretch + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach * stretch + 0.5), from);
    const weights = Array.from({ length: end - first }, (_, j) => weight((j + first - centre + 0.5) * (1 / stretch)));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => Math.trunc((w / sum) * 2 ** BITS + (w < 0 ? -0.5 : 0.5))) };
  });
}

function mixed(sum) {
  return Math.min(Math.max(Math.floor((sum + 2 ** (BITS - 1)) / 2 ** BITS), 0), 255);
}

function resizeRows({ height, width, channels, data }, to, filter) {
  const result = new Uint8Array(height * to * channels);
  mixtures(width, to, filter).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let j = 0; j < weights.length; j++) sum += data[(y * width + first + j) * channels + c] * weights[j];
        result[(y * to + x) * channels + c] = mixed(sum);
      }
    }
  });
  return picture(height, to, channels, result);
}

function resizeColumns({ height, width, channels, data }, to, filter) {
  const row = width * channels;
  const result = new Uint8Array(to * row);
  mixtures(height, to, filter).forEach(({ first, weights }, y) => {
    for (let x = 0; x < row; x++) {
      let sum = 0;
      for (let j = 0; j < weights.length; j++) sum += data[(first + j) * row + x] * weights[j];
      result[y * row + x] = mixed(sum);
    }
  });
  return picture(to, width, channels, result);
}

/** A picture in another size. Which direction comes first decides how a value between is rounded; here as in Pillow 13. */
export function resize(image, height, width, filter = BICUBIC) {
  const rows = (given) => (given.width === width ? given : resizeRows(given, width, filter));
  const columns = (given) => (given.height === height ? given : resizeColumns(given, height, filter));
  const columnsFirst = height < image.height && image.height - height > 2 * (image.width - width);
  return columnsFirst ? rows(columns(image)) : columns(rows(image));
}
