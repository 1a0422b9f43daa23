// Optimizers on one weight: each step returns what it did, so that a page can show it.

/** Plain gradient descent. */
export function descent({ rate }) {
  return (w, g) => ({ w: w - rate * g, g });
}

/** Gradient descent with momentum, as in Keras: the step is a running sum of slopes. */
export function momentum({ rate, keep = 0.9 }) {
  let velocity = 0;
  return (w, g) => {
    velocity = keep * velocity - rate * g;
    return { w: w + velocity, g, velocity };
  };
}

/** Adam. Source: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1. */
export function adam({ rate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-7 }) {
  let [m, v, t] = [0, 0, 0];
  return (w, g) => {
    t += 1;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const mHat = m / (1 - beta1 ** t);
    const vHat = v / (1 - beta2 ** t);
    return { w: w - (rate * mHat) / (Math.sqrt(vHat) + epsilon), g, m, v, mHat, vHat };
  };
}

/** Steps from w. slope: of the loss at w. Returns the start and each step: [{ w }, { w, g, ... }, ...]. */
export function descend(step, slope, w, steps) {
  const path = [{ w }];
  for (let i = 0; i < steps; i++) {
    const next = step(w, slope(w));
    path.push(next);
    w = next.w;
  }
  return path;
}
