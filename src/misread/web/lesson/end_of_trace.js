// The probabilities at the end of a trace.

import { softmax } from "./formulas.js";

/** Of the last layer's sums, where it has an activation function; its values are probabilities if that is softmax. */
export function endOfTrace(trace) {
  const { values, preactivation } = trace.at(-1);
  return softmax(preactivation ?? values);
}
