"""The map of images: each at a point of the plane, near those that the network's features make similar."""

from collections.abc import Callable

import numpy as np

from misread.studio.background import Report

METHODS = ("pca", "tsne")
SAMPLE = 10_000  # images that t-SNE places; the others are placed among these
DIMENSIONS = 50  # that t-SNE gets: the first principal components
NEAREST = 5  # placed images that decide where another one is put
SMALLEST = 10  # images that t-SNE can place

Method = Callable[[np.ndarray, Report], np.ndarray]


def place(features: np.ndarray, method: str, report: Report = lambda done: None) -> np.ndarray:
    """Points (N, 2) float32 for features (N, D) float32, scaled so that they fill -1..1 along their longer side.

    method: `pca`  the first two principal components.
            `tsne` t-SNE of van der Maaten and Hinton 2008, started from the principal components (Kobak and Berens
                   2019, "The art of using t-SNE for single-cell transcriptomics"). Of more than `SAMPLE` images an even
                   sample is placed, and each other image at the mean of its nearest neighbours in the sample.
    report: called with the share that is done.
    """
    few = len(features) < SMALLEST
    points = principal_components(features, 2) if method == "pca" or few else _tsne(features, report)
    if not len(points):
        return np.zeros((0, 2), np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    return ((points - (low + high) / 2) / (float((high - low).max()) / 2 or 1)).astype(np.float32)


def principal_components(features: np.ndarray, count: int) -> np.ndarray:
    """(N, count) float32: the features along their first principal components; zeros where there are fewer."""
    from sklearn.decomposition import PCA

    known = min(count, *features.shape)
    if len(features) < 2 or not known:
        return np.zeros((len(features), count), np.float32)
    found = PCA(known, svd_solver="auto", random_state=0).fit_transform(features)
    return np.pad(found, ((0, 0), (0, count - known))).astype(np.float32)


def _tsne(features: np.ndarray, report: Report) -> np.ndarray:
    from sklearn.manifold import TSNE

    from misread.analysis.neighbours import nearest

    report(0.05)
    if features.shape[1] > DIMENSIONS:
        features = principal_components(features, DIMENSIONS)
    chosen = np.linspace(0, len(features) - 1, min(len(features), SAMPLE)).astype(np.int64)
    sample = np.ascontiguousarray(features[chosen])
    first = principal_components(sample, 2)
    first *= 1e-4 / (first[:, 0].std() or 1)
    report(0.1)
    perplexity = min(30, (len(sample) - 1) / 3)
    placed = TSNE(2, perplexity=perplexity, init=first, random_state=0).fit_transform(sample)
    report(0.95)
    if len(sample) == len(features):
        return placed
    found = nearest(np.asarray(features), sample, NEAREST)
    points = placed[found.positions].mean(axis=1)
    points[chosen] = placed
    return points
