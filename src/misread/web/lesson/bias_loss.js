// The learner's loss along one weight: the last layer's bias of one class. All else stays as trained.

import { crossEntropy, softmax } from "./formulas.js";

/** Functions of b, which is added to class k's logit: loss(b), the mean over the images, and slope(b). */
export function biasLoss({ model, samples }, k, n = 60) {
  const images = samples.slice(0, n).map(({ pixels, label }) => ({ logits: model.logits(pixels), label }));
  const moved = (logits, b) => Array.from(logits, (z, j) => (j === k ? z + b : z));
  const mean = (value) => images.reduce((sum, image) => sum + value(image), 0) / images.length;
  return {
    loss: (b) => mean(({ logits, label }) => crossEntropy(moved(logits, b), label)),
    slope: (b) => mean(({ logits, label }) => softmax(moved(logits, b))[k] - (label === k ? 1 : 0)),
  };
}

/** Points of a function for a chart. */
export const curveOf = (f, from, to, n = 80) => Array.from({ length: n + 1 }, (_, i) => from + ((to - from) * i) / n).map((x) => [x, f(x)]);
