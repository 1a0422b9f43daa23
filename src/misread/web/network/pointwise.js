// Layers that treat each value by itself.

import { activate, activationGradient } from "./activations.js";
import { Layer } from "./layer.js";

/** Flatten and Dropout: their values stay as they are when a network predicts. */
export class Unchanged extends Layer {
  forward(values) {
    return { values };
  }
  backward(gradient) {
    return gradient;
  }
}

export class Activation extends Layer {
  forward(input) {
    return { preactivation: input, values: activate(this.spec.activation, input, this.outputShape.at(-1)) };
  }
  backward(gradient, { values }, input) {
    return activationGradient(this.spec.activation, input, values, gradient, this.outputShape.at(-1));
  }
  /** The gradient through all but the activation. */
  back(gradient) {
    return gradient;
  }
}

/** Normalises each channel by the averages over the training, then scales and shifts it. */
export class BatchNormalization extends Layer {
  constructor(header, index, weights) {
    super(header, index, weights);
    const { gamma, beta, moving_mean, moving_variance } = weights;
    this.scale = Float64Array.from(gamma, (g, c) => g / Math.sqrt(moving_variance[c] + header.spec.epsilon));
    this.shift = Float64Array.from(beta, (b, c) => b - moving_mean[c] * this.scale[c]);
  }
  forward(input) {
    const { scale, shift } = this;
    const values = new Float32Array(input.length);
    for (let i = 0, c = 0; i < input.length; i++, c = c + 1 === scale.length ? 0 : c + 1) values[i] = input[i] * scale[c] + shift[c];
    return { values };
  }
  backward(gradient) {
    return gradient.map((g, i) => g * this.scale[i % this.scale.length]);
  }
}
