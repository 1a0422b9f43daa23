"""Problems of a data set, and notes that may be harmless."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from misread.analysis.duplicates import ENOUGH, find_duplicates
from misread.analysis.records import with_names
from misread.data.image_set import ImageSet
from misread.data.mapped_images import Images

CONTRAST = 8  # grey levels between the brightest and darkest pixel; an image with fewer looks empty
BLOCK = 1000  # images read at once
LEAK = 0.01  # share of a split's images with a near-duplicate in training; more can change its score by over a point
IMBALANCE = 2  # ratio of the largest class to the smallest; more is noted


@dataclass(frozen=True)
class DataCheck:
    """The result of a check.

    problems:   lines about what makes scores or labels wrong. notes: lines about what may be intended.
    duplicates: the table of `find_duplicates`.
    constant:   one line for every image of nearly one colour. Columns: split, index, file, label.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    duplicates: pd.DataFrame
    constant: pd.DataFrame


def check_data(data: ImageSet) -> DataCheck:
    """Search for unreadable files, empty and unequal classes, duplicates, and images without contrast."""
    duplicates, constant = find_duplicates(data), _constant_images(data)
    problems, notes = [*data.skipped, *_absent_classes(data)], _unequal_classes(data)
    for kind, plural in (("exact", "Exact copies"), ("near", "Near-duplicates")):
        pairs = duplicates[duplicates["kind"] == kind]
        if pairs["conflict"].any():
            problems.append(f"Pairs of {plural.lower()} with different labels: {pairs['conflict'].sum():,}.")
        for (first, second), leaked in pairs[pairs["leak"]].groupby(["first_split", "second_split"], sort=False):
            count, of = leaked["second_index"].nunique(), len(data.splits[str(second)])
            line = f"{plural} of {first} images in {second}: {count:,} of {of:,} ({count / of:.2%})."
            (problems if kind == "exact" or count >= LEAK * of else notes).append(line)
        for split, within in pairs[~pairs["leak"]].groupby("first_split", sort=False):
            notes.append(f"{plural} within {split}: {within['second_index'].nunique():,}.")
    if (duplicates["kind"] == "near").sum() >= ENOUGH:
        notes.append(f"The search for near-duplicates ended after {ENOUGH:,} pairs; there may be more.")
    for split, lines in constant.groupby("split", sort=False):
        notes.append(f"Images of nearly one colour in {split}: {len(lines):,}.")
    return DataCheck(tuple(problems), tuple(notes), duplicates, constant)


def _absent_classes(data: ImageSet) -> list[str]:
    absent = {
        name: [repr(data.class_names[k]) for k in range(data.n_classes) if k not in split.labels]
        for name, split in data.splits.items()
    }
    return [f"The {name} split has no image of {', '.join(names)}." for name, names in absent.items() if names]


def _unequal_classes(data: ImageSet) -> list[str]:
    counts = np.bincount(data.train.labels, minlength=data.n_classes)
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] <= IMBALANCE * counts[least]:
        return []
    counted = " and ".join(f"{counts[k]:,} of {data.class_names[k]!r}" for k in (most, least))
    return [f"Unequal classes in train: {counted}."]


@with_names
def _constant_images(data: ImageSet) -> pd.DataFrame:
    parts = []
    for name, split in data.splits.items():
        at = np.flatnonzero(_contrast(split.images) < CONTRAST)
        parts.append(
            pd.DataFrame(
                {
                    "split": name,
                    "index": split.rows[at],
                    "file": [split.files[i] for i in at] if split.files else "",
                    "label": np.array(data.class_names, dtype=object)[split.labels[at]],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _contrast(images: Images) -> np.ndarray:
    """(N, H, W, C) uint8 -> (N,) uint8, the brightest value of each image minus its darkest."""
    blocks = [
        images[start : start + BLOCK].reshape(-1, np.prod(images.shape[1:])) for start in range(0, len(images), BLOCK)
    ]
    return np.concatenate([block.max(axis=1) - block.min(axis=1) for block in blocks] or [np.zeros(0, np.uint8)])
