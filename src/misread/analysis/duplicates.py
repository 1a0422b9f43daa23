"""Duplicates: images that equal, or nearly equal, another image of the same data set."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from misread.analysis.records import with_names
from misread.analysis.thumbnails import NEAR_DUPLICATE, thumbnails
from misread.data.image_hash import image_hashes
from misread.data.image_set import SPLITS, ImageSet

COMPONENTS = 16  # principal components for the search of candidates
SAMPLE = 2000  # thumbnails that the components are computed from
BLOCK = 256  # thumbnails compared at once with those after them
ENOUGH = 100_000  # near-duplicates; then the search ends, since nobody looks at so many one by one


@with_names
def find_duplicates(data: ImageSet) -> pd.DataFrame:
    """Pairs of duplicates within and across splits: pairs with different labels first, then pairs across splits.

    Columns: kind ("exact" or "near"), correlation of the thumbnails, conflict (the labels differ), leak (the splits
    differ), and of both images, as first_ and second_: split, index (row in the source), file, label (name).
    Of n equal images, the first is paired with each other one. Near-duplicates are different images whose thumbnails
    correlate by `NEAR_DUPLICATE` or more; the search ends after `ENOUGH` of them.
    """
    splits = [(name, data.splits[name]) for name in SPLITS if name in data.splits]
    hashes = np.concatenate([image_hashes(split.images) for _, split in splits])
    distinct, exact = exact_pairs(hashes)
    small = np.concatenate([thumbnails(split.images) for _, split in splits])
    near = [np.zeros((0, 2), np.int64)]
    for pairs in near_pairs(small[distinct]):
        near.append(distinct[pairs])
        if sum(map(len, near)) >= ENOUGH:
            break
    pairs = np.concatenate([exact, *near])
    labels = np.concatenate([split.labels for _, split in splits])
    names = np.concatenate([np.full(len(split), name, dtype=object) for name, split in splits])
    rows = np.concatenate([split.rows for _, split in splits])
    files = np.concatenate([np.array(split.files or [""] * len(split), dtype=object) for _, split in splits])
    table = pd.DataFrame(
        {
            "kind": np.repeat(["exact", "near"], [len(exact), len(pairs) - len(exact)]),
            "correlation": np.append(np.ones(len(exact)), _correlations(small, pairs[len(exact) :])),
            "conflict": labels[pairs[:, 0]] != labels[pairs[:, 1]],
            "leak": names[pairs[:, 0]] != names[pairs[:, 1]],
        }
    )
    for which, at in zip(("first", "second"), pairs.T, strict=True):
        table[f"{which}_split"], table[f"{which}_index"] = names[at], rows[at]
        table[f"{which}_file"], table[f"{which}_label"] = files[at], np.array(data.class_names, object)[labels[at]]
    return table.sort_values(
        ["conflict", "leak", "kind", "correlation"], ascending=[False, False, True, False], kind="stable",
        ignore_index=True,
    )  # fmt: skip


def pair_images(data: ImageSet, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second images of P pairs, (P, H, W, C) uint8 each."""

    def images(which: str) -> np.ndarray:
        found = np.zeros((len(pairs), *data.image_shape), np.uint8)
        for at, (split, row) in enumerate(zip(pairs[f"{which}_split"], pairs[f"{which}_index"], strict=True)):
            source = data.splits[split]
            found[at] = source.images[np.searchsorted(source.rows, row)]
        return found

    return images("first"), images("second")


def exact_pairs(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) the position of the first of each group of equal hashes, ascending; (P, 2) the pairs of first and other."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    earliest = first[inverse]
    later = np.flatnonzero(earliest != np.arange(len(hashes)))
    return np.sort(first), np.stack([earliest[later], later], axis=1)


def near_pairs(small: np.ndarray, correlation: float = NEAR_DUPLICATE) -> Iterator[np.ndarray]:
    """All pairs (P, 2) of rows whose dot product is `correlation` or more, in blocks, the lower row number first.

    small: (N, D) float32, rows of length 1, or 0.
    Rows that are near each other are near in every direction, also in the first principal components. So the rows are
    sorted by the first component; each is compared by `COMPONENTS` components with the following rows within reach, and
    the remaining pairs are compared completely. No pair is missed.
    """
    rows = torch.from_numpy(small)
    reach = 2 - 2 * correlation  # squared distance of two rows of length 1
    components = _principal_components(rows)
    order = components[:, 0].argsort(stable=True)
    components = components[order]
    squares = components.square().sum(dim=1)
    last = torch.searchsorted(components[:, 0].contiguous(), components[:, 0] + reach**0.5 + 1e-6, right=True)
    for start in range(0, len(components), BLOCK):
        block, end = components[start : start + BLOCK], int(last[min(start + BLOCK, len(components)) - 1])
        distances = torch.addmm(squares[start:end], block, components[start:end].T, alpha=-2)
        candidates = distances <= (reach + 1e-5 - squares[start : start + BLOCK])[:, None]
        a, b = candidates.nonzero(as_tuple=True)
        a, b = a[b > a], b[b > a]
        pairs = torch.stack([order[start + a], order[start + b]], dim=1).sort(dim=1).values
        near = pairs[(rows[pairs[:, 0]] * rows[pairs[:, 1]]).sum(dim=1) >= correlation]
        yield near.numpy()


def _principal_components(rows: Tensor) -> Tensor:
    """(N, D) -> (N, up to `COMPONENTS`), the component with the largest variance in a sample of the rows first."""
    sample = rows[torch.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).long()]
    centre = sample.mean(dim=0)
    directions = torch.linalg.eigh((sample - centre).T @ (sample - centre)).eigenvectors
    return (rows - centre) @ directions.flip(1)[:, :COMPONENTS]


def _correlations(small: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", small[pairs[:, 0]], small[pairs[:, 1]])
