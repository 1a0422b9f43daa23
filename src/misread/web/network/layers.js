// The layers of a network, made from the header of its file.

import { isActivation } from "./activations.js";
import { damaged } from "./file.js";
import { Layer, pair, product } from "./layer.js";
import { Activation, BatchNormalization, Unchanged } from "./pointwise.js";
import { AveragePooling, GlobalAveragePooling, GlobalMaxPooling, MaxPooling } from "./pooling.js";
import { Convolution, Dense } from "./sums.js";

/** The sum of the input and the output of inner layers. */
class Residual extends Layer {
  constructor(header, index, weights, layers) {
    super(header, index, weights);
    this.layers = layers;
  }
  /** inner: the steps of the inner layers. */
  forward(input) {
    const inner = steps(this.layers, input);
    const last = inner.at(-1).values;
    return { inner, values: input.map((value, i) => value + last[i]) };
  }
  backward(gradient, { inner }, input) {
    return stepsBack(this.layers, inner, input, gradient).map((g, i) => g + gradient[i]);
  }
}

const KINDS = {
  Flatten: [Unchanged],
  Dropout: [Unchanged],
  Activation: [Activation],
  BatchNormalization: [BatchNormalization, "gamma", "beta", "moving_mean", "moving_variance"],
  Dense: [Dense, "kernel", "bias"],
  Conv2D: [Convolution, "kernel", "bias"],
  Whitening: [Convolution, "kernel", "bias"],
  MaxPooling2D: [MaxPooling],
  AveragePooling2D: [AveragePooling],
  GlobalAveragePooling2D: [GlobalAveragePooling],
  GlobalMaxPooling2D: [GlobalMaxPooling],
  Residual: [Residual],
};

/** Layers with the weights of one member. tensors: a Map from "layer/name" to Float32Array. */
export function makeLayers(headers, tensors, path = "") {
  return headers.map((header, index) => {
    const { type, name, spec } = header;
    if (!Object.hasOwn(KINDS, type)) throw new Error(`This page knows no layer of the type ${type}. Install a newer misread.`);
    if (spec.activation && !isActivation(spec.activation)) {
      throw new Error(`This page knows no activation ${spec.activation}. Install a newer misread.`);
    }
    const [Kind, ...names] = KINDS[type];
    const weights = {};
    for (const own of names) {
      const values = tensors.get(`${path}${name}/${own}`);
      if (!values && (own !== "bias" || spec.use_bias)) throw damaged(`the layer ${name} has no ${own}`);
      if (values && values.length !== expectedSize(own, header)) throw damaged(`${own} of the layer ${name} has another shape`);
      if (values) weights[own] = values;
    }
    return new Kind(header, index, weights, type === "Residual" && makeLayers(header.layers, tensors, `${path}${name}/`));
  });
}

function expectedSize(own, { type, spec, input_shape, output_shape }) {
  const channels = output_shape.at(-1);
  if (own !== "kernel") return channels;
  if (type === "Dense") return product(input_shape) * channels;
  return product(pair(spec.kernel_size)) * input_shape.at(-1) * channels;
}

/** What each layer gives for an input: [{ layer, shape, values, ... }]. */
export function steps(layers, input) {
  const done = [];
  for (const layer of layers) {
    const step = { layer, shape: layer.outputShape, ...layer.forward(input) };
    done.push(step);
    input = step.values;
  }
  return done;
}

/** The gradient with respect to the input of layers, given their steps and the gradient of the last output. */
export function stepsBack(layers, done, input, gradient) {
  for (let i = layers.length - 1; i >= 0; i--) {
    gradient = layers[i].backward(gradient, done[i], i ? done[i - 1].values : input);
  }
  return gradient;
}
