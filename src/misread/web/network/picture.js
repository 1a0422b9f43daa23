// A picture as { height, width, channels, data }: data is a Uint8Array of height * width * channels values.

const PRECISION = 7; // bits, as in Pillow's alpha_composite

export const picture = (height, width, channels, data) => ({ height, width, channels, data });

/** An ImageData, laid on white. Grey if all its pixels are grey, else RGB. As `read_picture` in data/picture.py. */
export function fromImageData({ width, height, data }) {
  const rgb = new Uint8Array(3 * width * height);
  let grey = true;
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    const alpha = data[from + 3];
    for (let c = 0; c < 3; c++) rgb[to + c] = alpha === 255 ? data[from + c] : onWhite(data[from + c], alpha);
    grey &&= rgb[to] === rgb[to + 1] && rgb[to] === rgb[to + 2];
  }
  if (!grey) return picture(height, width, 3, rgb);
  const first = new Uint8Array(width * height);
  for (let i = 0; i < first.length; i++) first[i] = rgb[3 * i];
  return picture(height, width, 1, first);
}

function onWhite(value, alpha) {
  const opacity = alpha << PRECISION;
  const sum = value * opacity + 255 * ((255 << PRECISION) - opacity) + (128 << PRECISION);
  return (((sum >> 8) + sum) >> 8) >> PRECISION;
}

/** Grey or RGB. Colour becomes grey by ITU-R 601 luma, as in Pillow. */
export function asChannels({ height, width, channels, data }, wanted) {
  if (channels === wanted) return picture(height, width, channels, data);
  const result = new Uint8Array(height * width * wanted);
  if (wanted === 3) return picture(height, width, 3, result.map((_, i) => data[Math.floor(i / 3)]));
  for (let i = 0, from = 0; i < result.length; i++, from += 3) {
    result[i] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
  }
  return picture(height, width, 1, result);
}

/** The mean of the channels of each pixel. */
export function greyOf({ height, width, channels, data }) {
  if (channels === 1) return Float64Array.from(data);
  const result = new Float64Array(height * width);
  for (let i = 0, from = 0; i < result.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += data[from++];
    result[i] = sum / channels;
  }
  return result;
}

export const inverted = ({ height, width, channels, data }) => picture(height, width, channels, data.map((value) => 255 - value));

/** Rounds halves to the even number, as Python and numpy do. */
export function roundEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
