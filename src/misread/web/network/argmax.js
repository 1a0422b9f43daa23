// The class that a network predicts: the index of the largest value; of equal ones the first.

export const argmax = (values) => values.reduce((best, v, i) => (v > values[best] ? i : best), 0);
