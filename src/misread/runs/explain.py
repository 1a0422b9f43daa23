"""Why a run misread images: gathers the evidence from its network, its training images and its held-out images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from misread.analysis.causes import NEIGHBOURS, Evidence, assign_causes, describe_evidence, measure_reference
from misread.analysis.explanation import Explanation, neighbour_table
from misread.analysis.features import feature_blocks, features
from misread.analysis.neighbours import Neighbours, nearest
from misread.analysis.scored import Scored
from misread.analysis.thumbnails import thumbnail_blocks, thumbnails
from misread.data.image_set import Split
from misread.data.mapped_images import Images
from misread.errors import RunError
from misread.runs.stored_run import StoredRun

HELD_OUT = 2000  # images that the reference is measured on: about ten lie beyond its farthest half percent


def explain(run: StoredRun, scored: Scored, positions: np.ndarray, others: Sequence[StoredRun] = ()) -> Explanation:
    """The causes of misread images, and their nearest training images.

    scored:    a split of the run's data, scored by the run. positions: (M,) int64, the misread images in it.
    others:    runs on the same data with other seeds or recipes, whose predictions are further evidence.
    Raises DataError or RunError: the run's data cannot be loaded.
    Raises RunError: another run has other data, or may have trained on these images.
    """
    for other in others:
        _check_independent(other, run, scored.split)
    train, held_out = run.split("train"), _sample(run.split("val"))
    rows, labels = scored.rows[positions], scored.labels[positions]
    images, held_out_images = np.asarray(scored.images[positions]), np.asarray(held_out.images)
    itself = np.searchsorted(train.rows, rows) if scored.split == "train" else np.full(len(rows), -1)
    itself = np.append(itself, np.full(len(held_out), -1))
    by_features, by_thumbnails = _search(run, np.concatenate([images, held_out_images]), train.images, itself)
    count = len(rows)
    evidence = Evidence(
        labels,
        scored.probs[positions],
        by_features[:count],
        by_thumbnails[:count],
        train.labels,
        np.stack([other.predict(images) for other in others]) if others else None,
    )
    reference = measure_reference(
        Evidence(
            held_out.labels,
            run.predict(held_out_images),
            by_features[count:],
            by_thumbnails[count:],
            train.labels,
        )
    )
    causes = assign_causes(evidence, reference)
    names = np.array(train.files if train.files is not None else [f"{row:,}" for row in train.rows], dtype=object)
    described = describe_evidence(evidence, reference, causes, scored.class_names, names)
    return Explanation(
        reasons=pd.DataFrame({"index": rows, "cause": list(map(str, causes)), "evidence": described}),
        neighbours=neighbour_table(rows, by_features[:count], train, scored.class_names),
        training_images_of=lambda rows: train.images[np.searchsorted(train.rows, rows)],
    )


def _check_independent(other: StoredRun, run: StoredRun, split: str) -> None:
    """Another run's predictions are evidence only if it did not train on the images."""
    if other.record.data.fingerprint != run.record.data.fingerprint:
        raise RunError(
            f"The run in {other.folder} was trained on {other.record.data.name}, other data than the run in "
            f"{run.folder}, {run.record.data.name}. Name other runs on the same data."
        )
    if split != "test" and not (split == "val" and run.data.val is not None):
        raise RunError(
            f"The run in {other.folder} may have trained on images of the {split} split of the run in {run.folder}. "
            "Other runs can judge the test split."
        )


def _sample(split: Split) -> Split:
    """`HELD_OUT` images evenly over a split, or all if there are fewer."""
    return split.take(np.linspace(0, len(split) - 1, min(len(split), HELD_OUT)).astype(np.int64))


def _search(run: StoredRun, images: np.ndarray, training: Images, itself: np.ndarray) -> tuple[Neighbours, Neighbours]:
    """The nearest training images by features and by thumbnails. itself: (Q,) a training image that does not count."""
    network, device, k = run.network, run.device, NEIGHBOURS + 1
    by_features = nearest(features(network, images, device), feature_blocks(network, training, device), k)
    by_thumbnails = nearest(thumbnails(images), thumbnail_blocks(training), k)
    return by_features.without(itself), by_thumbnails.without(itself)
