// Activation functions and their derivatives, as in misread/models/layers.py.

const LEAK = 0.2; // Keras's slope

const ERF = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277];

/** The error function, with an error below 1.2e-7. Source: Press et al., Numerical Recipes, section 6.2. */
function erf(x) {
  const t = 1 / (1 + 0.5 * Math.abs(x));
  let sum = 0;
  for (let i = ERF.length - 1; i >= 0; i--) sum = sum * t + ERF[i];
  const tail = t * Math.exp(-x * x + sum);
  return x >= 0 ? 1 - tail : tail - 1;
}

const normal = (x) => 0.5 * (1 + erf(x / Math.SQRT2)); // the distribution function of the normal distribution
const density = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** By name: [the function, its derivative]. Softmax is not among them: it mixes the values. */
export const ACTIVATIONS = {
  linear: [(x) => x, () => 1],
  relu: [(x) => (x > 0 ? x : 0), (x) => (x > 0 ? 1 : 0)],
  leaky_relu: [(x) => (x > 0 ? x : LEAK * x), (x) => (x > 0 ? 1 : LEAK)],
  tanh: [Math.tanh, (x) => 1 - Math.tanh(x) ** 2],
  sigmoid: [sigmoid, (x) => sigmoid(x) * (1 - sigmoid(x))],
  gelu: [(x) => x * normal(x), (x) => normal(x) + x * density(x)],
};

/** Softmax over each run of `channels` values. */
export function softmax(values, channels = values.length) {
  const shares = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += channels) {
    let largest = -Infinity;
    for (let i = start; i < start + channels; i++) largest = Math.max(largest, values[i]);
    let sum = 0;
    for (let i = start; i < start + channels; i++) sum += Math.exp(values[i] - largest);
    for (let i = start; i < start + channels; i++) shares[i] = Math.exp(values[i] - largest) / sum;
  }
  return shares;
}

/** An activation of values whose last dimension has `channels`. Linear gives the same array. */
export function activate(name, values, channels) {
  if (name === "linear") return values;
  if (name === "softmax") return softmax(values, channels);
  const [f] = ACTIVATIONS[name];
  const activated = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) activated[i] = f(values[i]);
  return activated;
}

/** The gradient with respect to an activation's input, given its input, its output and the gradient of its output. */
export function activationGradient(name, input, output, gradient, channels) {
  if (name === "linear") return gradient;
  const result = new Float32Array(input.length);
  if (name === "softmax") {
    for (let start = 0; start < input.length; start += channels) {
      let sum = 0;
      for (let i = start; i < start + channels; i++) sum += gradient[i] * output[i];
      for (let i = start; i < start + channels; i++) result[i] = output[i] * (gradient[i] - sum);
    }
    return result;
  }
  const derivative = ACTIVATIONS[name][1];
  for (let i = 0; i < input.length; i++) result[i] = gradient[i] && gradient[i] * derivative(input[i]);
  return result;
}

export const isActivation = (name) => name === "softmax" || name in ACTIVATIONS;
