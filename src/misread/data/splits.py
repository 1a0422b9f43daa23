"""Carving a split out of another, and stratified folds."""

import numpy as np


def carve(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split positions into the rest and a carved part, which gets `fraction` of every class, drawn with the seed.

    labels: (N,) int64. Returns two ascending int64 arrays without common positions: the rest and the carved part.
    Of a class with two or more images, each part gets at least one. A class with one image stays in the rest.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for label in np.unique(labels):
        positions = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(round(len(positions) * fraction), 1), len(positions) - 1)
        parts.append(positions[:count])
    carved = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    return np.setdiff1d(np.arange(len(labels)), carved), carved


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(N,) int64, the fold 0..folds-1 of each image, drawn with the seed.

    labels: (N,) int64. The sizes of folds differ by at most one, in total and within each class.
    """
    chance = np.random.default_rng(seed).random(len(labels))
    folds_of = np.empty(len(labels), np.int64)
    folds_of[np.lexsort((chance, labels))] = np.arange(len(labels)) % folds  # class by class, assigned in rotation
    return folds_of
