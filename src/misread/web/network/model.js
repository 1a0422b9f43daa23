// A trained network in the page: predictions, what every layer gives, and gradients.

import { softmax } from "./activations.js";
import { damaged, readFile } from "./file.js";
import { product } from "./layer.js";
import { makeLayers, steps, stepsBack } from "./layers.js";
import { randomisedTensors } from "./random_weights.js";
import { viewsOf } from "./views.js";

/** The network in a file that `model_bytes` in model_file.py wrote. Throws Error: the file is damaged or foreign. */
export function readModel(buffer) {
  const { header, members } = readFile(buffer);
  return new Model(header, members);
}

/**
 * An image is a Uint8Array of H*W*C pixels, or a Float32Array of as many values in [0, 1].
 * `predict` and `logits` average over members and views, as in Python. All else is of the first member, without views.
 */
export class Model {
  constructor(header, tensors) {
    this.header = header;
    this.classNames = header.class_names;
    this.imageShape = header.image_shape;
    this.geometry = header.geometry;
    this.views = header.views;
    this.tensors = tensors;
    this.members = tensors.map((own) => makeLayers(header.layers, own));
    this.layers = this.members[0];
    const last = header.layers.at(-1);
    this.softmaxLast = ["Dense", "Activation"].includes(last?.type) && last.spec.activation === "softmax";
    if (!last || product(last.output_shape) !== this.classNames.length) throw damaged("its last layer does not fit its classes");
  }
  /** Probabilities of the classes. */
  predict(image) {
    return softmax(this.logits(image));
  }
  /** As `predict`, in steps: yields the probabilities so far after each member and view. */
  *predicting(image) {
    const all = [];
    for (const logits of this.#passes(image)) {
      all.push(logits);
      yield softmax(mean(all));
    }
    return softmax(mean(all));
  }
  /** The logits; of several members or views, the log of the mean probabilities. */
  logits(image) {
    return mean([...this.#passes(image)]);
  }
  /** The logits of each member on each view. */
  *#passes(image) {
    for (const view of viewsOf(image, this.imageShape, this.views)) {
      const input = this.input(view);
      for (const layers of this.members) yield this.logitsOf(steps(layers, input));
    }
  }
  /** The steps of all layers: [{ layer, shape, values }], with preactivation, argmax or inner steps where a layer has them. */
  trace(image) {
    return steps(this.layers, this.input(image));
  }
  /** The steps of the layers after the layer `index`, if that layer had given these values. */
  traceFrom(index, values) {
    return steps(this.layers.slice(index + 1), values);
  }
  /** The logits in a trace, or in the end of one. */
  logitsOf(trace) {
    return this.softmaxLast ? trace.at(-1).preactivation : trace.at(-1).values;
  }
  /** d logit k / d input, with the input in [0, 1]: Float32Array of H*W*C. */
  gradient(image, k) {
    const input = this.input(image);
    const done = steps(this.layers, input);
    let gradient = new Float32Array(this.classNames.length);
    gradient[k] = 1;
    if (!this.softmaxLast) return stepsBack(this.layers, done, input, gradient);
    gradient = this.layers.at(-1).back(gradient); // the logits are what its softmax gets
    return stepsBack(this.layers.slice(0, -1), done, input, gradient);
  }
  /**
   * This network with new random weights in the last `count` layers that learn a kernel, drawn as before a training.
   * For the check by Adebayo et al. 2018 (arXiv 1810.03292): an explanation must change with the weights that it explains.
   */
  randomised(count, seed) {
    return new Model(this.header, randomisedTensors(this.header.layers, this.tensors, count, seed));
  }
  /** What the first layer gets: Float32Array in [0, 1]. */
  input(image) {
    if (image.length !== product(this.imageShape)) {
      throw new Error(`The image has ${image.length} values; the network needs ${this.imageShape.join(" x ")}.`);
    }
    if (image instanceof Float32Array) return image;
    const values = new Float32Array(image.length);
    for (let i = 0; i < values.length; i++) values[i] = image[i] / 255;
    return values;
  }
}

/** One logits as they are; of several the log of the mean probabilities. */
function mean(all) {
  if (all.length === 1) return all[0];
  const sums = new Float64Array(all[0].length);
  for (const logits of all) softmax(logits).forEach((share, k) => (sums[k] += share / all.length));
  return Float32Array.from(sums, Math.log);
}
