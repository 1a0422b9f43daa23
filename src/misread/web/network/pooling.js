// Pooling: the largest value or the mean of windows, or of the whole image.

import { Layer, inside, windowsOf } from "./layer.js";

export class MaxPooling extends Layer {
  constructor(header, index, weights) {
    super(header, index, weights);
    this.windows = windowsOf(this, header.spec.pool_size, header.spec.strides, header.spec.padding);
  }
  /** argmax: for each output, the index in the input of the value that was chosen; of equal ones the first. */
  forward(input) {
    const w = this.windows;
    const values = new Float32Array(this.outputSize).fill(-Infinity);
    const argmax = new Int32Array(this.outputSize).fill(-1);
    for (let row = 0, at = 0; row < w.rows; row++) {
      for (let column = 0; column < w.columns; column++, at += w.channels) {
        const { y0, y1, x0, x1 } = inside(w, row, column);
        for (let y = y0; y < y1; y++) {
          for (let x = x0; x < x1; x++) {
            const from = (y * w.width + x) * w.channels;
            for (let c = 0; c < w.channels; c++) {
              if (argmax[at + c] >= 0 && !(input[from + c] > values[at + c])) continue;
              values[at + c] = input[from + c];
              argmax[at + c] = from + c;
            }
          }
        }
      }
    }
    return { values, argmax };
  }
  backward(gradient, { argmax }) {
    const result = new Float32Array(this.inputSize);
    for (let i = 0; i < gradient.length; i++) result[argmax[i]] += gradient[i];
    return result;
  }
}

/** The mean of the pixels of each window that are inside the image. */
export class AveragePooling extends Layer {
  constructor(header, index, weights) {
    super(header, index, weights);
    this.windows = windowsOf(this, header.spec.pool_size, header.spec.strides, header.spec.padding);
  }
  /** Calls visit(index of the output, index of the input, pixels in the window) for each pair that belongs together. */
  #visit(visit) {
    const w = this.windows;
    for (let row = 0, at = 0; row < w.rows; row++) {
      for (let column = 0; column < w.columns; column++, at += w.channels) {
        const { y0, y1, x0, x1 } = inside(w, row, column);
        const count = (y1 - y0) * (x1 - x0);
        for (let y = y0; y < y1; y++) {
          for (let x = x0; x < x1; x++) {
            for (let c = 0; c < w.channels; c++) visit(at + c, (y * w.width + x) * w.channels + c, count);
          }
        }
      }
    }
  }
  forward(input) {
    const sums = new Float64Array(this.outputSize);
    this.#visit((to, from, count) => (sums[to] += input[from] / count));
    return { values: Float32Array.from(sums) };
  }
  backward(gradient) {
    const sums = new Float64Array(this.inputSize);
    this.#visit((from, to, count) => (sums[to] += gradient[from] / count));
    return Float32Array.from(sums);
  }
}

export class GlobalAveragePooling extends Layer {
  forward(input) {
    const channels = this.outputSize;
    const sums = new Float64Array(channels);
    for (let i = 0; i < input.length; i++) sums[i % channels] += input[i];
    return { values: Float32Array.from(sums, (sum) => (sum * channels) / input.length) };
  }
  backward(gradient) {
    const channels = this.outputSize;
    const share = channels / this.inputSize;
    return Float32Array.from({ length: this.inputSize }, (_, i) => gradient[i % channels] * share);
  }
}

export class GlobalMaxPooling extends Layer {
  /** argmax: as in MaxPooling. */
  forward(input) {
    const channels = this.outputSize;
    const values = input.slice(0, channels);
    const argmax = Int32Array.from({ length: channels }, (_, c) => c);
    for (let i = channels; i < input.length; i++) {
      const c = i % channels;
      if (!(input[i] > values[c])) continue;
      values[c] = input[i];
      argmax[c] = i;
    }
    return { values, argmax };
  }
  /** Equally large values share the gradient, as in PyTorch's amax. */
  backward(gradient, { values }, input) {
    const channels = this.outputSize;
    const equal = new Int32Array(channels);
    for (let i = 0; i < input.length; i++) if (input[i] === values[i % channels]) equal[i % channels]++;
    return input.map((value, i) => (value === values[i % channels] ? gradient[i % channels] / equal[i % channels] : 0));
  }
}
