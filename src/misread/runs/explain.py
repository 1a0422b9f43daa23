"""Why a run misread images: gathers the evidence from its network, its training images and its held-out images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from misread.analysis.causes import RARE, Background, Cause, cause_probabilities, describe_evidence, name_causes
from misread.analysis.evidence import NEIGHBOURS, Evidence, Nearest
from misread.analysis.explanation import Explanation, neighbour_table, no_neighbours
from misread.analysis.image_kinds import measure_kinds, plant_blends, plant_strange
from misread.analysis.mistakes import fit_mistakes
from misread.analysis.neighbours import nearest
from misread.analysis.probabilities import geometric_mean
from misread.analysis.records import with_names
from misread.analysis.scored import Scored
from misread.analysis.thumbnails import thumbnail_blocks, thumbnails
from misread.data.image_set import Split
from misread.errors import RunError
from misread.messages import Message
from misread.runs.stored_run import StoredRun
from misread.training.auto_recipe import better_recipe

HELD_OUT = 1500  # images that are compared with planted ones


def explain(scored: Scored, run: StoredRun, others: Sequence[StoredRun] = ()) -> Explanation:
    """The causes of all misread images of a split, and their nearest training images.

    scored: a split of the run's data, scored by the run.
    others: runs on the same data with other seeds or recipes, whose predictions are further evidence.
    Raises DataError or RunError: the run's data cannot be loaded.
    Raises RunError: another run has other data, or may have trained on these images.
    """
    for other in others:
        _check_independent(other, run, scored.split)
    theirs = [other.predictor.probs(scored.images) for other in others]
    mistakes = fit_mistakes(scored.labels, geometric_mean([scored.probs, *theirs]), scored.predicted)
    positions = scored.misread_positions

    train, held_out = run.split("train"), _sample(run.split("val"))
    rows, images, reference = scored.rows[positions], np.asarray(scored.images[positions]), np.asarray(held_out.images)
    probs = run.predict(reference)
    rng = np.random.default_rng(0)
    planted = plant_blends(reference, held_out.labels, rng), plant_strange(reference, rng)
    itself = np.searchsorted(train.rows, rows) if scored.split == "train" else np.full(len(rows), -1)
    groups = [images, reference, *planted]
    found = _search(run, np.concatenate(groups), train, np.append(itself, np.full(sum(map(len, groups[1:])), -1)))
    near = [
        found[slice(end - len(group), end)] for group, end in zip(groups, np.cumsum([*map(len, groups)]), strict=True)
    ]

    misread = Evidence(
        scored.labels[positions],
        scored.probs[positions],
        near[0],
        np.stack([p[positions] for p in theirs]) if theirs else None,
    )
    ordinary = Evidence(held_out.labels, probs, near[1])
    right = ordinary.predicted == ordinary.labels
    counted = mistakes[0].plausible(probs, ordinary.predicted, held_out.labels, RARE)
    blends, strange = (
        Evidence(np.zeros(len(group), np.int64), run.predict(group), place)
        for group, place in zip(planted, near[2:], strict=True)
    )
    background = Background(
        mistakes,
        measure_kinds(ordinary, counted, blends, strange),
        (ordinary.conflicting[right].any(axis=1).sum() + 0.5) / (right.sum() + 1),
        len(scored),
    )
    names = np.array(train.files if train.files is not None else [f"{row:,}" for row in train.rows], dtype=object)
    reasons, evidence = _reasons(scored, misread, background, names)
    return Explanation(
        reasons=reasons,
        neighbours=neighbour_table(rows, near[0].by_features, train, scored.class_names),
        training_images_of=lambda rows: train.images[np.searchsorted(train.rows, rows)],
        evidence=evidence,
        advice=_advice(run, reasons, misread),
    )


def explain_without_run(scored: Scored) -> Explanation:
    """The causes of misread images by their probabilities alone: model error, label doubtful or undetermined."""
    positions = scored.misread_positions
    misread = Evidence(scored.labels[positions], scored.probs[positions])
    background = Background(fit_mistakes(scored.labels, scored.probs, scored.predicted), None, 0.0, len(scored))
    reasons, evidence = _reasons(scored, misread, background, np.array([]))
    return Explanation(reasons, no_neighbours(), lambda rows: np.array([]), evidence)


@with_names
def _reasons(
    scored: Scored, misread: Evidence, background: Background, training_names: np.ndarray
) -> tuple[pd.DataFrame, list[Message]]:
    """`Explanation.reasons` and its evidence."""
    probabilities = cause_probabilities(misread, background)
    causes, sure = name_causes(probabilities)
    evidence = describe_evidence(misread, background, probabilities, scored.class_names, training_names)
    reasons = pd.DataFrame(
        {
            "index": scored.rows[scored.misread_positions],
            "cause": list(map(str, causes)),
            "cause_probability": sure,
            "evidence": evidence,
        }
    )
    return reasons, evidence


def _advice(run: StoredRun, reasons: pd.DataFrame, misread: Evidence) -> str:
    """What to try if most misread images are the network's own mistakes; else nothing."""
    own = (reasons["cause"] == Cause.MODEL).to_numpy()
    if 2 * own.sum() <= len(own):
        return ""
    record = run.record
    better = better_recipe(record.recipe, run.data)
    more = f" --epochs {2 * record.epochs_trained}" if record.recipe == better else ""
    command = f"misread train {record.data.source or record.data.name} --recipe {better}{more}"
    values = {"own": int(own.sum()), "all": len(own), "command": command}
    if misread.others is None:
        return Message("advice.model", **values)
    right = misread.others.mean(axis=0).argmax(axis=1) == misread.labels
    return Message("advice.model-others", **values, right=int((right & own).sum()))


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


def _search(run: StoredRun, images: np.ndarray, train: Split, itself: np.ndarray) -> Nearest:
    """The nearest training images by features and by thumbnails. itself: (Q,) a training image that does not count."""
    predictor, k, training = run.predictor, NEIGHBOURS + 1, train.images
    by_features = nearest(predictor.features(images), predictor.feature_blocks(training), k)
    by_thumbnails = nearest(thumbnails(images), thumbnail_blocks(training), k)
    return Nearest(by_features.without(itself), by_thumbnails.without(itself), train.labels)
