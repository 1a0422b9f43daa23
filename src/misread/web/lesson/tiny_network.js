// A network of one or two dense layers that is trained in the page, in double precision.

import { argmax } from "../network/argmax.js";
import { crossEntropy, softmax } from "./formulas.js";

/** Weights (inputs, units) by Glorot's uniform rule, and biases of 0. */
export function glorot(inputs, units, random) {
  const limit = Math.sqrt(6 / (inputs + units));
  return { inputs, units, kernel: Float64Array.from({ length: inputs * units }, () => (2 * random() - 1) * limit), bias: new Float64Array(units) };
}

export const zeros = (inputs, units) => ({ inputs, units, kernel: new Float64Array(inputs * units), bias: new Float64Array(units) });

function sums({ inputs, units, kernel, bias }, x) {
  const z = Float64Array.from(bias);
  for (let i = 0; i < inputs; i++) {
    if (x[i] === 0) continue;
    for (let j = 0; j < units; j++) z[j] += x[i] * kernel[i * units + j];
  }
  return z;
}

/** The logits of one image; between the layers ReLU. */
function tinyLogits(layers, x) {
  const hidden = layers.length === 2 ? sums(layers[0], x).map((z) => Math.max(0, z)) : x;
  return sums(layers.at(-1), hidden);
}

/** Mean loss and accuracy over images: [{ x, label }]. */
export function measure(layers, images) {
  let [loss, right] = [0, 0];
  for (const { x, label } of images) {
    const logits = tinyLogits(layers, x);
    loss += crossEntropy(logits, label);
    right += argmax(logits) === label;
  }
  return { loss: loss / images.length, accuracy: right / images.length };
}

/**
 * One step of gradient descent on a batch, changing the layers. Returns the batch's mean loss before the step.
 * keep: (unit) -> factor of a hidden unit's output, for dropout; drawn for each image.
 */
export function trainStep(layers, batch, rate, keep = null) {
  const gradients = layers.map(({ inputs, units }) => zeros(inputs, units));
  let loss = 0;
  for (const { x, label } of batch) {
    const first = layers.length === 2 ? sums(layers[0], x) : null;
    const factors = first && keep ? first.map((_, j) => keep(j)) : null;
    const hidden = first ? first.map((z, j) => Math.max(0, z) * (factors ? factors[j] : 1)) : x;
    const logits = sums(layers.at(-1), hidden);
    loss += crossEntropy(logits, label);
    const error = softmax(logits); // the slope of the loss at the logits: probabilities less the one-hot label
    error[label] -= 1;
    accumulate(gradients.at(-1), hidden, error);
    if (!first) continue;
    const { kernel, units } = layers[1];
    const back = first.map((z, j) => {
      if (z <= 0) return 0;
      let sum = 0;
      for (let k = 0; k < units; k++) sum += kernel[j * units + k] * error[k];
      return sum * (factors ? factors[j] : 1);
    });
    accumulate(gradients[0], x, back);
  }
  layers.forEach((layer, n) => {
    const scale = rate / batch.length;
    for (let i = 0; i < layer.kernel.length; i++) layer.kernel[i] -= scale * gradients[n].kernel[i];
    for (let j = 0; j < layer.units; j++) layer.bias[j] -= scale * gradients[n].bias[j];
  });
  return loss / batch.length;
}

function accumulate({ inputs, units, kernel, bias }, x, error) {
  for (let j = 0; j < units; j++) bias[j] += error[j];
  for (let i = 0; i < inputs; i++) {
    if (x[i] === 0) continue;
    for (let j = 0; j < units; j++) kernel[i * units + j] += x[i] * error[j];
  }
}
