// The products that a unit of a dense layer adds up.

export const firstDense = ({ layers }) => layers.find(({ type }) => type === "Dense");

/** For one image and unit: terms (weight times input) and weights, both by input, and the bias. */
export function denseTerms(model, dense, { pixels }, unit) {
  const trace = model.trace(pixels);
  const at = trace.findIndex(({ layer }) => layer.index === dense.index);
  const inputs = at > 0 ? trace[at - 1].values : model.input(pixels);
  const units = dense.outputShape.at(-1);
  const { kernel, bias } = dense.weights;
  const weights = Array.from(inputs, (_, i) => kernel[i * units + unit]);
  return { terms: weights.map((weight, i) => weight * inputs[i]), weights, bias: bias ? bias[unit] : 0 };
}
