// The sums of one unit of the learner's network, before its activation function, on many images.

/** The unit of the first layer with an activation function whose sum varies most: { sums, unit }. */
export function unitSums({ model, samples }, n = 60) {
  const all = samples.slice(0, n).map(({ pixels }) => beforeActivation(model.trace(pixels)));
  let [unit, most] = [0, -1];
  for (let j = 0; j < all[0].length; j++) {
    const column = all.map((values) => values[j]);
    const mean = column.reduce((a, b) => a + b, 0) / column.length;
    const spread = column.reduce((sum, z) => sum + (z - mean) ** 2, 0);
    if (spread > most) [unit, most] = [j, spread];
  }
  return { sums: all.map((values) => values[unit]), unit };
}

/** The sums that the first activation function gets. */
function beforeActivation(trace) {
  const at = trace.findIndex(({ layer }) => !["linear", "softmax", undefined].includes(layer.spec.activation));
  const { layer, preactivation, values } = trace[Math.max(0, at)];
  return layer.type === "Activation" && at > 0 ? trace[at - 1].values : (preactivation ?? values);
}
