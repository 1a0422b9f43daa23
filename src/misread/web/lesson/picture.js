// Pictures of numbers on a canvas: images, feature maps, weights.

import { make } from "../components/elements.js";

/** A canvas of height x width pixels, one a value. colour: (value) -> [red, green, blue]. */
export function pixelCanvas(height, width, colour, name = "") {
  const canvas = make("canvas", { width, height, class: "pixels", ...(name ? { role: "img", "aria-label": name } : { "aria-hidden": "true" }) });
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) data.data.set([...colour(i), 255], 4 * i);
  context.putImageData(data, 0, 0);
  return canvas;
}

/** An image of the learner's. */
export function picture({ shape: [height, width, channels] }, { pixels }, name = "") {
  const at = (i, c) => pixels[i * channels + Math.min(c, channels - 1)];
  return pixelCanvas(height, width, (i) => [at(i, 0), at(i, 1), at(i, 2)], name);
}

/** Values from 0 (black) to `largest` (white). */
export function greyMap(values, height, width, largest, name) {
  return pixelCanvas(height, width, (i) => Array(3).fill(Math.max(0, Math.min(255, (255 * values[i]) / (largest || 1)))), name);
}

/** Values around 0: orange above, blue below, white at 0. */
export function signedMap(values, height, width, name) {
  let largest = 1e-12;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return pixelCanvas(height, width, (i) => signedColour(values[i] / largest), name);
}

function signedColour(share) {
  const to = share > 0 ? [192, 85, 0] : [0, 114, 178];
  const amount = Math.min(1, Math.abs(share));
  return to.map((end) => Math.round(255 + (end - 255) * amount));
}

/** The means of an image's channels, from 0 to 1: (height * width). */
export function greyValues({ shape: [height, width, channels] }, { pixels }) {
  return Float64Array.from({ length: height * width }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += pixels[i * channels + c];
    return sum / channels / 255;
  });
}

export const captioned = (content, text) => make("figure", {}, content, make("figcaption", {}, text));
