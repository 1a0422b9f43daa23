// The views of an image that test-time augmentation averages, as in misread/models/views.py.

/** The image shifted by (down, right) pixels, mirrored first if asked. Pixels from outside repeat those of the edge. */
function moved(image, [height, width, channels], down, right, mirrored) {
  const result = new image.constructor(image.length);
  const inside = (at, size) => Math.min(Math.max(at, 0), size - 1);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = inside(x - right, width);
      const from = (inside(y - down, height) * width + (mirrored ? width - 1 - column : column)) * channels;
      for (let c = 0; c < channels; c++) result[to++] = image[from + c];
    }
  }
  return result;
}

/** All views of an image; only itself if `views` is null. */
export function viewsOf(image, shape, views) {
  if (!views) return [image];
  const { shift, flip } = views;
  const shifts = shift ? [[0, 0], [shift, 0], [0, shift], [-shift, 0], [0, -shift]] : [[0, 0]]; // prettier-ignore
  const all = shifts.map(([down, right]) => moved(image, shape, down, right, false));
  return flip ? [...all, ...shifts.map(([down, right]) => moved(image, shape, down, right, true))] : all;
}
