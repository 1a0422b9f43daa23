// Pictures on canvases: images of bytes, maps of numbers in two colours, and the page's colours as numbers.

import { make } from "./elements.js";

/** The (r, g, b) that a CSS colour has for this element now, in the theme that is on. */
export function colourOf(element, css) {
  const probe = document.createElement("span");
  probe.style.cssText = `color: ${css}; display: none`;
  element.append(probe);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  canvas.fillStyle = getComputedStyle(probe).color;
  probe.remove();
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

const STEPS = 255; // colours on each side of 0
const word = ([r, g, b], alpha = 255) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;

/** Colours for numbers from -1 to 1: negative towards --b, 0 the ground, positive towards the text. */
export function signedScale(element) {
  const [low, zero, high] = ["var(--b)", "var(--raised)", "var(--text)"].map((css) => colourOf(element, css));
  const scale = new Uint32Array(2 * STEPS + 1);
  for (let i = -STEPS; i <= STEPS; i++) {
    const [end, share] = [i < 0 ? low : high, Math.abs(i) / STEPS];
    scale[i + STEPS] = word(zero.map((v, k) => Math.round(v + (end[k] - v) * share)));
  }
  return scale;
}

/** Transparent at 0, towards a colour at 1: laid over a picture. */
export function overlayScale(element, css) {
  const colour = colourOf(element, css);
  const scale = new Uint32Array(2 * STEPS + 1);
  for (let i = 0; i <= STEPS; i++) scale[i + STEPS] = word(colour, Math.round((225 * i) / STEPS));
  return scale;
}

export const inkOf = (scale, share) => scale[STEPS + Math.round(Math.max(-1, Math.min(1, share)) * STEPS)];

/** Draws an image (H*W*C bytes) on a canvas, one canvas pixel a pixel. */
export function drawImage(canvas, image, [height, width, channels]) {
  canvas.width = width;
  canvas.height = height;
  const data = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let k = 0; k < 3; k++) data.data[4 * i + k] = image[i * channels + (channels === 3 ? k : 0)];
    data.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(data, 0, 0);
}

/** A new canvas with an image; see drawImage. */
export function pictureCanvas(image, shape) {
  const canvas = make("canvas");
  drawImage(canvas, image, shape);
  return canvas;
}

/** Draws height*width numbers on a canvas. limit: the magnitude that has the full colour; else the largest there is. */
export function drawNumbers(canvas, numbers, [height, width], scale, limit = largest(numbers)) {
  canvas.width = width;
  canvas.height = height;
  const data = new ImageData(width, height);
  const words = new Uint32Array(data.data.buffer);
  for (let i = 0; i < words.length; i++) words[i] = inkOf(scale, limit ? numbers[i] / limit : 0);
  canvas.getContext("2d").putImageData(data, 0, 0);
}

export function largest(numbers) {
  let most = 0;
  for (const value of numbers) most = Math.max(most, Math.abs(value));
  return most;
}

/** Calls `redraw` when the theme changes; returns a function that ends it. */
export function onTheme(redraw) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(redraw);
  observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  system.addEventListener("change", redraw);
  return () => {
    observer.disconnect();
    system.removeEventListener("change", redraw);
  };
}
