"""Why images were misread: what the causes are judged by, gathered from a run, its training and its held-out images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from misread.analysis.causes import NEIGHBOURS, Witnesses, assign_causes, describe_evidence, measure_usual
from misread.analysis.misreads import Explanation
from misread.analysis.neighbours import Neighbours, nearest
from misread.analysis.thumbnails import thumbnail_blocks, thumbnails
from misread.data.image_set import Split
from misread.data.mapped_images import Images
from misread.errors import RunError

if TYPE_CHECKING:
    from misread.runs.run import Run

HELD_OUT = 2000  # images that the usual is measured on: ten of them lie beyond its farthest half percent


def explain(run: "Run", split: str, rows: np.ndarray, others: Sequence["Run"] = ()) -> Explanation:
    """The causes of misread images of a split, and their nearest training images.

    rows:   (M,) int64, which images, by their rows in the source.
    others: runs on the same data with other seeds or recipes, whose agreement is then evidence too.
    Raises RunError: another run has other data, or may have trained on these images.
    """
    for other in others:
        _check_may_judge(other, run, split)
    train, whole, held_out = run.split("train"), run.split(split), _sample(run.split("val"))
    at = np.searchsorted(whole.rows, rows)
    asked = whole.take(at)
    pictures, held_out_pictures = np.asarray(asked.images), np.asarray(held_out.images)
    itself = np.searchsorted(train.rows, rows) if split == "train" else np.full(len(rows), -1)
    itself = np.append(itself, np.full(len(held_out), -1))
    by_features, by_thumbnails = _search(run, np.concatenate([pictures, held_out_pictures]), train.images, itself)
    count = len(asked)
    images = Witnesses(
        asked.labels,
        run.predictions(split).probs[at],
        by_features[:count],
        by_thumbnails[:count],
        train.labels,
        np.stack([other.predict(pictures) for other in others]) if others else None,
    )
    usual = measure_usual(
        Witnesses(
            held_out.labels,
            run.predict(held_out_pictures),
            by_features[count:],
            by_thumbnails[count:],
            train.labels,
        )
    )
    causes, class_names = assign_causes(images, usual), run.record.data.class_names
    called = np.array(train.files if train.files is not None else [f"{row:,}" for row in train.rows], dtype=object)
    evidence = describe_evidence(images, usual, causes, class_names, called)
    return Explanation(
        reasons=pd.DataFrame({"index": rows, "cause": list(map(str, causes)), "evidence": evidence}),
        neighbours=_neighbour_table(rows, by_features[:count], train, class_names),
        training_images_of=lambda rows: train.images[np.searchsorted(train.rows, rows)],
    )


def _check_may_judge(other: "Run", run: "Run", split: str) -> None:
    if other.record.data.fingerprint != run.record.data.fingerprint:
        raise RunError(
            f"The run in {other.folder} was trained on {other.record.data.name}, other data than the run in "
            f"{run.folder}, {run.record.data.name}. Runs that judge its misreads have to have its data."
        )
    if split != "test" and not (split == "val" and run.data.val is not None):
        raise RunError(
            f"The run in {other.folder} may have trained on images of the {split} split of the run in {run.folder}. "
            "Other runs can judge the test split."
        )


def _sample(split: Split) -> Split:
    """`HELD_OUT` images evenly over a split, or all where there are fewer."""
    return split.take(np.linspace(0, len(split) - 1, min(len(split), HELD_OUT)).astype(np.int64))


def _search(run: "Run", images: np.ndarray, training: Images, itself: np.ndarray) -> tuple[Neighbours, Neighbours]:
    """The nearest training images by features and by thumbnails; the one at `itself` (Q,) is no neighbour."""
    predictor, k = run.predictor, NEIGHBOURS + 1
    by_features = nearest(predictor.features(images), predictor.feature_blocks(training), k)
    by_thumbnails = nearest(thumbnails(images), thumbnail_blocks(training), k)
    return by_features.without(itself), by_thumbnails.without(itself)


def _neighbour_table(rows: np.ndarray, near: Neighbours, train: Split, class_names: Sequence[str]) -> pd.DataFrame:
    count = near.positions.shape[1]
    positions = near.positions.ravel()
    return pd.DataFrame(
        {
            "index": np.repeat(rows, count),
            "place": np.tile(np.arange(1, count + 1), len(rows)),
            "training_index": train.rows[positions],
            "training_file": [train.files[i] for i in positions] if train.files is not None else "",
            "training_label": np.array(class_names, dtype=object)[train.labels[positions]],
            "distance": near.distances.ravel(),
        }
    )
