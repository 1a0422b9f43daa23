// The lesson's formulas: each computes in double precision what its page explains.

/** Probabilities of logits: exponentials divided by their sum. The largest logit is subtracted so that none overflows. */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (z) => Math.exp(z - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** Minus the logarithm of the label's probability, from the logits: log of the sum of exponentials less the label's logit. */
export function crossEntropy(logits, label) {
  const largest = Math.max(...logits);
  const sum = Array.from(logits, (z) => Math.exp(z - largest)).reduce((a, b) => a + b, 0);
  return largest + Math.log(sum) - logits[label];
}

/** Positions of a window of size k along n pixels, and the zeros before and after them. */
export function positions(n, k, stride, padding) {
  if (padding === "valid") return { size: Math.max(0, Math.floor((n - k) / stride) + 1), before: 0, after: 0 };
  const size = Math.ceil(n / stride);
  const zeros = Math.max(0, (size - 1) * stride + k - n);
  return { size, before: Math.floor(zeros / 2), after: Math.ceil(zeros / 2) }; // the odd zero at the end, as in Keras
}

/**
 * The feature map of one kernel on one channel.
 * values: (height, width) row by row. kernel: (k, k) row by row. Returns { height, width, values }.
 */
export function convolve(values, height, width, kernel, { stride = 1, padding = "valid" } = {}) {
  const k = Math.sqrt(kernel.length);
  const [down, across] = [positions(height, k, stride, padding), positions(width, k, stride, padding)];
  const out = new Float64Array(down.size * across.size);
  for (let row = 0; row < down.size; row++) {
    for (let column = 0; column < across.size; column++) {
      let sum = 0;
      for (let i = 0; i < k; i++) {
        const y = row * stride + i - down.before;
        if (y < 0 || y >= height) continue;
        for (let j = 0; j < k; j++) {
          const x = column * stride + j - across.before;
          if (x >= 0 && x < width) sum += values[y * width + x] * kernel[i * k + j];
        }
      }
      out[row * across.size + column] = sum;
    }
  }
  return { height: down.size, width: across.size, values: out };
}

/** The largest value in each window of k x k, the windows side by side; what does not fill a window is left out. */
export function maxPool(values, height, width, k) {
  const [rows, columns] = [Math.floor(height / k), Math.floor(width / k)];
  const out = new Float64Array(rows * columns).fill(-Infinity);
  for (let y = 0; y < rows * k; y++) {
    for (let x = 0; x < columns * k; x++) {
      const place = Math.floor(y / k) * columns + Math.floor(x / k);
      out[place] = Math.max(out[place], values[y * width + x]);
    }
  }
  return { height: rows, width: columns, values: out };
}

/** Precision, recall and F1 of class k, and the accuracy over all. */
export function metricsOf(labels, predictions, k) {
  let [right, both, labelled, predicted] = [0, 0, 0, 0];
  labels.forEach((label, i) => {
    right += label === predictions[i];
    both += label === k && predictions[i] === k;
    labelled += label === k;
    predicted += predictions[i] === k;
  });
  const [precision, recall] = [both / predicted, both / labelled];
  return { accuracy: right / labels.length, precision, recall, f1: (2 * both) / (labelled + predicted), both, labelled, predicted };
}
