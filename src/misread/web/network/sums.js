// Weighted sums of the input: dense layers and convolutions.

import { activate, activationGradient } from "./activations.js";
import { ConvolutionKernel, hasKernel } from "./convolution_kernel.js";
import { Layer, inside, windowsOf } from "./layer.js";

/** Adds `count` rows of the kernel, each `width` long and begun at rows[i], times amounts[i], to the sums. */
function addRows(kernel, width, rows, amounts, count, sums) {
  let i = 0;
  for (; i + 3 < count; i += 4) {
    const [a, b, c, d] = [amounts[i], amounts[i + 1], amounts[i + 2], amounts[i + 3]];
    const [p, q, r, s] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
    for (let k = 0; k < width; k++) sums[k] += a * kernel[p + k] + b * kernel[q + k] + c * kernel[r + k] + d * kernel[s + k];
  }
  for (; i < count; i++) {
    const [a, p] = [amounts[i], rows[i]];
    for (let k = 0; k < width; k++) sums[k] += a * kernel[p + k];
  }
}

/** A layer that ends with an activation of weighted sums. */
class WeightedSums extends Layer {
  constructor(header, index, weights) {
    super(header, index, weights);
    this.channels = this.outputShape.at(-1);
    this.activation = header.spec.activation;
    this.sums = new Float64Array(this.channels);
    this.start = weights.bias ? Float64Array.from(weights.bias) : new Float64Array(this.channels);
  }
  forward(input) {
    const preactivation = this.weigh(input);
    return { preactivation, values: activate(this.activation, preactivation, this.channels) };
  }
  /** `back` is the gradient through all but the activation. */
  backward(gradient, { preactivation, values }) {
    return this.back(activationGradient(this.activation, preactivation, values, gradient, this.channels));
  }
}

export class Dense extends WeightedSums {
  constructor(header, index, weights) {
    super(header, index, weights);
    this.rows = new Int32Array(this.inputSize);
    this.amounts = new Float64Array(this.inputSize);
  }
  weigh(input) {
    const { rows, amounts, sums, channels } = this;
    let count = 0;
    for (let i = 0; i < input.length; i++) {
      if (input[i] === 0) continue;
      rows[count] = i * channels;
      amounts[count++] = input[i];
    }
    sums.set(this.start);
    addRows(this.weights.kernel, channels, rows, amounts, count, sums);
    return Float32Array.from(sums);
  }
  back(gradient) {
    const { kernel } = this.weights;
    const result = new Float32Array(this.inputSize);
    for (let i = 0, row = 0; i < result.length; i++) {
      let sum = 0;
      for (let k = 0; k < gradient.length; k++) sum += gradient[k] * kernel[row++];
      result[i] = sum;
    }
    return result;
  }
}

/** Conv2D, and Whitening, which is one with fixed weights. */
export class Convolution extends WeightedSums {
  constructor(header, index, weights) {
    super(header, index, weights);
    const { kernel_size, strides, padding } = header.spec;
    this.windows = windowsOf(this, kernel_size, strides, padding);
    if (hasKernel) this.compiled = new ConvolutionKernel(this.windows, this.channels, weights);
    const taps = this.windows.kernelHeight * this.windows.kernelWidth * this.windows.channels;
    this.rows = new Int32Array(taps);
    this.amounts = new Float64Array(taps);
  }
  weigh(input) {
    if (this.compiled) return this.compiled.sums(input);
    const { windows: w, rows, amounts, sums, channels } = this;
    const { kernel } = this.weights;
    const result = new Float32Array(this.outputSize);
    for (let row = 0, at = 0; row < w.rows; row++) {
      for (let column = 0; column < w.columns; column++, at += channels) {
        const { y, x, y0, y1, x0, x1 } = inside(w, row, column);
        let count = 0;
        for (let i = y0; i < y1; i++) {
          let from = (i * w.width + x0) * w.channels;
          let tap = ((i - y) * w.kernelWidth + x0 - x) * w.channels * channels;
          for (const end = (i * w.width + x1) * w.channels; from < end; from++, tap += channels) {
            if (input[from] === 0) continue;
            rows[count] = tap;
            amounts[count++] = input[from];
          }
        }
        sums.set(this.start);
        addRows(kernel, channels, rows, amounts, count, sums);
        result.set(sums, at);
      }
    }
    return result;
  }
  back(gradient) {
    const { windows: w, channels } = this;
    const { kernel } = this.weights;
    const result = new Float64Array(this.inputSize);
    for (let row = 0, at = 0; row < w.rows; row++) {
      for (let column = 0; column < w.columns; column++, at += channels) {
        const { y, x, y0, y1, x0, x1 } = inside(w, row, column);
        for (let i = y0; i < y1; i++) {
          let to = (i * w.width + x0) * w.channels;
          let tap = ((i - y) * w.kernelWidth + x0 - x) * w.channels * channels;
          for (const end = (i * w.width + x1) * w.channels; to < end; to++, tap += channels) {
            let sum = 0;
            for (let k = 0; k < channels; k++) sum += gradient[at + k] * kernel[tap + k];
            result[to] += sum;
          }
        }
      }
    }
    return Float32Array.from(result);
  }
}
