// Pictures from pixels.

/** A canvas element of the size of an image. pixels: (H, W, C) bytes. shape: [H, W, C], C is 1 or 3. */
export function pictureCanvas(pixels, [height, width, channels]) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = pixels[channels * i + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
