"""Logarithms and means of probabilities."""

from collections.abc import Sequence

import numpy as np

SMALLEST = float(np.finfo(np.float32).tiny)  # stands for a probability too small for float32, so that logs are finite


def log_probs(probs: np.ndarray) -> np.ndarray:
    """float64, of the same shape; finite also for a probability of 0."""
    return np.log(np.maximum(probs, SMALLEST, dtype=np.float64))


def from_log(logs: np.ndarray) -> np.ndarray:
    """(N, K) float64 probabilities in proportion to the exponentials of `logs`; rows sum to 1."""
    powers = logs - logs.max(axis=1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def geometric_mean(members: Sequence[np.ndarray]) -> np.ndarray:
    """(N, K) float64: the mean of the members' log probabilities, as probabilities whose rows sum to 1.

    members: arrays (N, K). A single one is returned as it is. A probability of 0 counts as the smallest float32.
    """
    if len(members) == 1:
        return members[0].astype(np.float64)
    return from_log(sum(map(log_probs, members), np.zeros(members[0].shape)) / len(members))
