// Which pixels a prediction depends on: occlusion and integrated gradients.
//
// Both are generators: they yield { done, total } after each pass through the network, so that a page can run them in
// slices, and return the map.

/**
 * How much the probability of class k falls when a grey patch hides a pixel: Float32Array H*W, the mean over the patches
 * that cover the pixel. patch: the side of the square; stride: between patches; fill: their pixels' value, 0..255.
 * Source: Zeiler and Fergus 2014 (arXiv 1311.2901).
 */
export function* occlusion(model, image, k, { patch = 5, stride = 2, fill = 128 } = {}) {
  const [height, width, channels] = model.imageShape;
  const starts = (size) => {
    const found = [];
    for (let at = 1 - patch; at < size; at += stride) found.push(at);
    return found;
  };
  const [rows, columns] = [starts(height), starts(width)];
  const value = image instanceof Float32Array ? fill / 255 : fill;
  const before = model.predict(image)[k];
  const sums = new Float64Array(height * width);
  const counts = new Int32Array(height * width);
  let done = 0;
  for (const top of rows) {
    for (const left of columns) {
      const hidden = image.slice();
      const covered = [];
      for (let y = Math.max(top, 0); y < Math.min(top + patch, height); y++) {
        for (let x = Math.max(left, 0); x < Math.min(left + patch, width); x++) covered.push(y * width + x);
      }
      for (const pixel of covered) hidden.fill(value, pixel * channels, (pixel + 1) * channels);
      const fall = before - model.predict(hidden)[k];
      for (const pixel of covered) {
        sums[pixel] += fall;
        counts[pixel] += 1;
      }
      yield { done: ++done, total: rows.length * columns.length };
    }
  }
  return Float32Array.from(sums, (sum, i) => (counts[i] ? sum / counts[i] : 0));
}

/**
 * The share of each pixel in logit k, beside a baseline: Float32Array H*W, summed over channels. All shares together are
 * the difference of the logit between image and baseline, up to the error of `steps` points (the midpoint rule).
 * baseline: an image; black by default. Of the first member, without views, as `model.gradient`.
 * Source: Sundararajan, Taly and Yan 2017 (arXiv 1703.01365).
 */
export function* integratedGradients(model, image, k, { steps = 32, baseline = null } = {}) {
  const channels = model.imageShape[2];
  const end = model.input(image);
  const start = baseline ? model.input(baseline) : new Float32Array(end.length);
  const shares = new Float32Array(end.length / channels);
  for (let step = 0; step < steps; step++) {
    const between = start.map((value, i) => value + ((step + 0.5) / steps) * (end[i] - value));
    const gradient = model.gradient(between, k);
    gradient.forEach((g, i) => (shares[Math.floor(i / channels)] += (g * (end[i] - start[i])) / steps));
    yield { done: step + 1, total: steps };
  }
  return shares;
}
