// Where one value of a layer's output comes from: its window, the kernel, the products and their sum, and so on.

import { inside } from "./layer.js";

/** [row, column, channel] of a flat index into values of this shape; of flat shapes [0, 0, unit]. */
export function position(shape, at) {
  if (shape.length === 1) return [0, 0, at];
  const [, width, channels] = shape;
  return [Math.floor(at / channels / width), Math.floor(at / channels) % width, at % channels];
}

/** The activation of a layer's own: linear if it has none. */
const activationOf = (layer) => layer?.spec.activation ?? "linear";

/** The window of a layer's input, as it lies over a position of the output. Cells outside the image are null. */
function windowAt(w, row, column) {
  const { y, x } = inside(w, row, column);
  const cells = [];
  for (let i = 0; i < w.kernelHeight; i++) {
    for (let j = 0; j < w.kernelWidth; j++) {
      const within = y + i >= 0 && y + i < w.height && x + j >= 0 && x + j < w.width;
      cells.push(within ? ((y + i) * w.width + x + j) * w.channels : null);
    }
  }
  return { y, x, height: w.kernelHeight, width: w.kernelWidth, cells };
}

/** What all weighted sums show beside their products. unit: the unit or filter that the value is of. */
function explainSum({ layer, values, step }, at, unit) {
  const { bias } = layer.weights;
  return { unit, bias: bias ? bias[unit] : 0, sum: step.preactivation[at], activation: activationOf(layer), output: values[at] };
}

function explainConvolution(stage, at) {
  const { layer, input } = stage;
  const w = layer.windows;
  const [row, column, unit] = position(layer.outputShape, at);
  const window = windowAt(w, row, column);
  const filters = layer.outputShape.at(-1);
  const { kernel } = layer.weights;
  const channels = Array.from({ length: w.channels }, (_, c) => {
    const inputs = window.cells.map((cell) => (cell === null ? 0 : input[cell + c]));
    const weights = window.cells.map((_, tap) => kernel[(tap * w.channels + c) * filters + unit]);
    const products = inputs.map((value, i) => value * weights[i]);
    return { channel: c, inputs, weights, products, sum: products.reduce((a, b) => a + b, 0) };
  });
  return { kind: "convolution", window, channels, ...explainSum(stage, at, unit) };
}

function explainDense(stage, at) {
  const { layer, input } = stage;
  const { kernel } = layer.weights;
  const units = layer.outputShape.at(-1);
  const parts = Array.from(input, (value, i) => ({ from: i, value, weight: kernel[i * units + at], product: value * kernel[i * units + at] }));
  return { kind: "dense", parts, ...explainSum(stage, at, at) };
}

function explainPooling({ layer, input, values, step }, at) {
  const [row, column, channel] = position(layer.outputShape, at);
  const window = windowAt(layer.windows, row, column);
  const inputs = window.cells.map((cell) => (cell === null ? null : input[cell + channel]));
  const chosen = step.argmax ? window.cells.findIndex((cell) => cell !== null && cell + channel === step.argmax[at]) : -1;
  return { kind: "pooling", window, channel, inputs, chosen, output: values[at] };
}

function explainGlobal({ layer, input, values, step }, at) {
  const [height, width, channels] = layer.inputShape;
  const inputs = Array.from({ length: height * width }, (_, i) => input[i * channels + at]);
  const window = { y: 0, x: 0, height, width };
  const chosen = step.argmax ? (step.argmax[at] - at) / channels : -1;
  return { kind: "pooling", window, channel: at, inputs, chosen, output: values[at] };
}

function explainNormalization({ layer, input, values }, at) {
  const { gamma, beta, moving_mean, moving_variance } = layer.weights;
  const c = at % gamma.length;
  return {
    kind: "normalization", input: input[at], mean: moving_mean[c], variance: moving_variance[c],
    gamma: gamma[c], beta: beta[c], epsilon: layer.spec.epsilon, output: values[at],
  }; // prettier-ignore
}

const EXPLAIN = {
  Conv2D: explainConvolution,
  Whitening: explainConvolution,
  Dense: explainDense,
  MaxPooling2D: explainPooling,
  AveragePooling2D: explainPooling,
  GlobalMaxPooling2D: explainGlobal,
  GlobalAveragePooling2D: explainGlobal,
  BatchNormalization: explainNormalization,
  Activation: ({ layer, input, values }, at) => ({ kind: "activation", input: input[at], activation: activationOf(layer), output: values[at] }),
  Residual: ({ input, values, step }, at) => ({ kind: "residual", input: input[at], inner: step.inner.at(-1).values[at], output: values[at] }),
};

/** How the value at a flat index of a stage's output was computed; the stage is one of `stagesOf`. */
export function explainValue(stage, at) {
  const explain = stage.layer && EXPLAIN[stage.layer.type];
  return explain ? explain(stage, at) : { kind: stage.layer ? "unchanged" : "pixel", output: stage.values[at] };
}
