// Spearman's rank correlation of two maps: 1 if they order their pixels in the same way, 0 if not at all.

/** Ranks of numbers; equal ones share the mean of their ranks. */
function ranks(numbers) {
  const order = [...numbers.keys()].sort((a, b) => numbers[a] - numbers[b]);
  const result = new Float64Array(numbers.length);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && numbers[order[end]] === numbers[order[start]]) end++;
    for (let i = start; i < end; i++) result[order[i]] = (start + end - 1) / 2;
    start = end;
  }
  return result;
}

/** Of equally long lists of numbers; NaN if all numbers of one are equal. */
export function rankCorrelation(a, b) {
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (a.length - 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  }
  return xx && yy ? xy / Math.sqrt(xx * yy) : Number.NaN;
}
