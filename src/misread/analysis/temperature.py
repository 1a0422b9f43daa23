"""Temperature scaling: one number that divides the logits so that confidence matches accuracy."""

import math

import numpy as np

from misread.analysis.probabilities import from_log, log_probs

# bounds of the search; at a bound the images are all read right, or the predictions are no better than chance
LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(labels: np.ndarray, probs: np.ndarray) -> float:
    """The temperature with the least cross-entropy on these images; above 1 if the model is over-confident.

    labels: (N,) int64, N >= 1. probs: (N, K), of images that neither trained the model nor are measured afterwards.
    The loss is convex in 1 / temperature, so a bracketed Newton search on its slope finds the one minimum. It ends at
    `LOWEST` if every image is read right, and at `HIGHEST` if the predictions are no better than chance.
    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    logits = log_probs(probs)
    of_labels = logits[np.arange(len(labels)), labels].mean()

    def slope_and_curvature(inverse: float) -> tuple[float, float]:
        """Of the loss, at this 1 / temperature."""
        scaled = from_log(inverse * logits)
        means = np.einsum("nk,nk->n", scaled, logits)
        squares = np.einsum("nk,nk,nk->n", scaled, logits, logits)
        return float(means.mean() - of_labels), float((squares - means**2).mean())

    low, high, inverse = 1 / HIGHEST, 1 / LOWEST, 1.0
    if slope_and_curvature(low)[0] >= 0:
        return HIGHEST
    if slope_and_curvature(high)[0] <= 0:
        return LOWEST
    for _step in range(100):
        slope, curvature = slope_and_curvature(inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        newton = inverse - slope / curvature if curvature > 0 else math.inf
        following = newton if low < newton < high else math.sqrt(low * high)
        if abs(following - inverse) <= 1e-8 * inverse:
            break
        inverse = following
    return 1 / inverse


def apply_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """probs (N, K) float32 with the logits divided by the temperature; the predicted classes stay the same.

    The logarithm of a probability is its logit up to a constant, and softmax cancels the constant.
    """
    return from_log(log_probs(probs) / temperature).astype(np.float32)
