// How precise a share of n images is.

/** The 95% interval of Wilson (1927) for a share, as in all of misread's numbers. */
export function wilson(right, n, z = 1.959964) {
  const [p, square] = [right / n, z * z];
  const middle = (p + square / (2 * n)) / (1 + square / n);
  const half = (z / (1 + square / n)) * Math.sqrt((p * (1 - p)) / n + square / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
