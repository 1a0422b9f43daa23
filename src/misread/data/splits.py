"""Carving one split out of another."""

import numpy as np


def carve(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions kept and positions held out: `fraction` of every class is held out, drawn by the seed.

    labels: (N,) int64. Returns two ascending (N_kept,), (N_held,) int64 arrays that share no position.
    A class of two or more images gives at least one and keeps at least one; a class of one keeps it.
    """
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        positions = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(round(len(positions) * fraction), 1), len(positions) - 1)
        held.append(positions[:count])
    held_out = np.sort(np.concatenate(held)) if held else np.empty(0, np.int64)
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(N,) int64, the fold 0..folds-1 of each image, drawn by the seed.

    labels: (N,) int64. Folds differ by at most one image, in all and within each class.
    """
    chance = np.random.default_rng(seed).random(len(labels))
    folds_of = np.empty(len(labels), np.int64)
    folds_of[np.lexsort((chance, labels))] = np.arange(len(labels)) % folds  # class by class, dealt out like cards
    return folds_of
