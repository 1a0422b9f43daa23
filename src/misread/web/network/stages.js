// The steps of a network as one list, with the input first and the layers inside a Residual before their sum.

/**
 * [{ name, layer, shape, values, input, from, depth, index, step }] for an image.
 *
 * input: the values that the layer was given. from: the place in the list of the stage that gave them. depth: how many
 * Residuals it is inside. index: of the layer in the network; null inside a Residual. The first stage is the image as
 * the network sees it; it has no layer.
 */
export function stagesOf(model, image) {
  const first = { name: "input", layer: null, shape: model.imageShape, values: model.input(image), depth: 0, from: -1, index: null };
  const stages = [first];
  function add(steps, from, depth) {
    for (const step of steps) {
      const { layer } = step;
      const { values: input } = stages[from];
      if (step.inner) add(step.inner, from, depth + 1);
      const index = depth ? null : layer.index;
      stages.push({ name: layer.name, layer, shape: step.shape, values: step.values, input, from, depth, index, step });
      from = stages.length - 1;
    }
  }
  add(model.trace(image), 0, 0);
  return stages;
}
