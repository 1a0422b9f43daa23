// New random weights for some layers of a network.

import { pair, product } from "./layer.js";

/** Random numbers in [0, 1): mulberry32, by Tommy Ettinger. The same seed gives the same numbers. */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The tensors of each member, with new kernels (Glorot and Bengio 2010) and zero biases in the last `count` layers. */
export function randomisedTensors(layers, members, count, seed) {
  const random = randomNumbers(seed);
  const chosen = count > 0 ? learnt(layers).slice(-count) : [];
  return members.map((tensors) => {
    const changed = new Map(tensors);
    for (const { path, inputs, outputs } of chosen) {
      const limit = Math.sqrt(6 / (inputs + outputs));
      changed.set(`${path}/kernel`, tensors.get(`${path}/kernel`).map(() => limit * (2 * random() - 1)));
      const bias = tensors.get(`${path}/bias`);
      if (bias) changed.set(`${path}/bias`, new Float32Array(bias.length));
    }
    return changed;
  });
}

/** The layers whose kernels are learnt, in order, with what a weight connects. */
function learnt(layers, path = "") {
  return layers.flatMap(({ type, name, spec, input_shape, output_shape, layers: inner }) => {
    if (inner) return learnt(inner, `${path}${name}/`);
    if (type !== "Dense" && type !== "Conv2D") return [];
    const area = type === "Dense" ? 1 : product(pair(spec.kernel_size));
    return [{ path: `${path}${name}`, inputs: area * input_shape.at(-1), outputs: area * output_shape.at(-1) }];
  });
}
