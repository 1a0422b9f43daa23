// Fits a drawn or dropped picture of any size to the training images, as misread/data/geometry.py.

import { removeGround } from "./ground.js";
import { asChannels, fromImageData, greyOf, inverted, median, picture, roundEven } from "./picture.js";
import { resize } from "./resize.js";

const INK = 32; // a pixel this far above the background belongs to the object

/**
 * An ImageData (of a canvas, or anything with width, height and RGBA data) as the network is given it: Uint8Array H*W*C.
 * imageShape: [H, W, C]. geometry: of the training images, { ground, box, centre }, as a run's model has it; without one
 * the picture fills the frame.
 */
export function layOut(imageData, imageShape, geometry) {
  const [height, width, channels] = imageShape;
  const given = asChannels(fromImageData(imageData), channels);
  if (!geometry?.ground || !geometry.box) return resize(cropToShape(given, height, width), height, width).data;
  const onLight = median(edge(given)) > 127;
  const onDark = geometry.ground === "dark";
  if (given.height === height && given.width === width) return onLight === onDark ? inverted(given).data : given.data;
  const ink = removeGround(onLight ? inverted(given) : given);
  const placed = place(ink, height, width, geometry.box, geometry.centre);
  return onDark ? placed.data : inverted(placed).data;
}

/** The object in `ink` with its longer side `box` pixels long, centred on black. centre: "mass" or "box". */
export function place(ink, height, width, box, centre) {
  let cut = cropped(ink, ...boundingBox(ink));
  const scale = box / Math.max(cut.height, cut.width);
  cut = resize(cut, Math.max(1, roundEven(cut.height * scale)), Math.max(1, roundEven(cut.width * scale)));
  const [dy, dx] = centre === "mass" ? massOffset(cut) : [0, 0];
  // rather off centre than cropped
  const start = (size, length, offset) => Math.min(Math.max(roundEven(size / 2 - (length / 2 + offset)), 0), Math.max(size - length, 0));
  const [top, left] = [start(height, cut.height, dy), start(width, cut.width, dx)];
  const data = new Uint8Array(height * width * cut.channels);
  for (let y = 0; y < Math.min(cut.height, height - top); y++) {
    const columns = Math.min(cut.width, width - left);
    const row = cut.data.subarray(y * cut.width * cut.channels, (y * cut.width + columns) * cut.channels);
    data.set(row, ((top + y) * width + left) * cut.channels);
  }
  return picture(height, width, cut.channels, data);
}

/** The outermost pixels in grey; those of the corners twice. */
function edge(image) {
  const { height, width } = image;
  const grey = greyOf(image);
  const column = (x) => Array.from({ length: height }, (_, y) => grey[y * width + x]);
  return [...grey.subarray(0, width), ...grey.subarray((height - 1) * width), ...column(0), ...column(width - 1)];
}

/** [top, bottom, left, right] of the object; of all pixels if there is none. */
function boundingBox(image) {
  const { height, width } = image;
  let [top, bottom, left, right] = [height, 0, width, 0];
  greyOf(image).forEach((value, i) => {
    if (value <= INK) return;
    const [y, x] = [Math.floor(i / width), i % width];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
    [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
  });
  return bottom ? [top, bottom, left, right] : [0, height, 0, width];
}

/** (dy, dx) from the centre of the image to the centre of mass, in pixels. */
function massOffset(image) {
  const { height, width } = image;
  let [total, y, x] = [0, 0, 0];
  greyOf(image).forEach((value, i) => {
    total += value;
    y += value * (Math.floor(i / width) + 0.5);
    x += value * ((i % width) + 0.5);
  });
  return total ? [y / total - height / 2, x / total - width / 2] : [0, 0];
}

function cropped({ width, channels, data }, top, bottom, left, right) {
  const length = (right - left) * channels;
  const result = new Uint8Array((bottom - top) * length);
  for (let y = top; y < bottom; y++) result.set(data.subarray((y * width + left) * channels, (y * width + right) * channels), (y - top) * length);
  return picture(bottom - top, right - left, channels, result);
}

/** The middle of the picture, in the proportions of the training images. */
function cropToShape(image, height, width) {
  const scale = Math.min(image.height / height, image.width / width);
  const [h, w] = [Math.max(1, roundEven(height * scale)), Math.max(1, roundEven(width * scale))];
  const [top, left] = [(image.height - h) >> 1, (image.width - w) >> 1];
  return cropped(image, top, top + h, left, left + w);
}
