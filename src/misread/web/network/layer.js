// What all layers have, and the windows of convolution and pooling.

/**
 * A layer of a network. Values are Float32Arrays in Keras's order: height, width, channels.
 * forward(values) gives { values } and what else the layer can show of this step;
 * backward(gradient, step, input) gives the gradient with respect to the layer's input.
 */
export class Layer {
  constructor({ type, name, spec, input_shape, output_shape }, index, weights) {
    Object.assign(this, { index, type, name, spec, inputShape: input_shape, outputShape: output_shape, weights });
    this.inputSize = product(input_shape);
    this.outputSize = product(output_shape);
  }
}

export const product = (shape) => shape.reduce((a, b) => a * b, 1);

/** [height, width] of a setting that is a number or both. */
export const pair = (value) => (Array.isArray(value) ? value : [value, value]);

/** The windows of a layer: sizes, steps and zeros before the first row and column, as Keras lays them. */
export function windowsOf({ inputShape, outputShape }, size, strides, padding) {
  const [height, width, channels] = inputShape;
  const [rows, columns] = outputShape;
  const [kernelHeight, kernelWidth] = pair(size);
  const [down, right] = pair(strides ?? size);
  const before = (count, input, kernel, step) => padding === "same" ? Math.floor(Math.max((count - 1) * step + kernel - input, 0) / 2) : 0;
  return {
    height, width, channels, rows, columns, kernelHeight, kernelWidth, down, right,
    top: before(rows, height, kernelHeight, down),
    left: before(columns, width, kernelWidth, right),
  }; // prettier-ignore
}

/** The part of a window that is inside the image: rows from..to of the input and so on. */
export function inside(w, row, column) {
  const y = row * w.down - w.top;
  const x = column * w.right - w.left;
  return {
    y, x,
    y0: Math.max(y, 0), y1: Math.min(y + w.kernelHeight, w.height),
    x0: Math.max(x, 0), x1: Math.min(x + w.kernelWidth, w.width),
  }; // prettier-ignore
}
