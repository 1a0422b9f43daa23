"""Doubtful labels of the images that a run trained on, by held-out predictions of its data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from misread.analysis.label_issues import METHODS, LabelIssues, label_issue_table
from misread.analysis.probabilities import geometric_mean
from misread.runs.held_out_folder import training_probs
from misread.runs.predictions import Predictions
from misread.runs.run import Run


def training_label_issues(run: Run, folders: Sequence[Path]) -> LabelIssues | None:
    """The training images of a run, the most doubtful label first; None without held-out predictions of all of them.

    folders: where `cross_val_predict` may have stored predictions of the run's data; the newest count. Their networks
             did not train on the images that they predicted.
    Labels are those that the run trained on, which its label patch may have fixed.
    Raises DataError or RunError: the run's data cannot be loaded.
    """
    train = run.split_with_fixes("train") if run.record.label_patch else run.split("train")
    found = training_probs(folders, run.record.data.fingerprint)
    if found is None or not np.isin(train.rows, found[0]).all():
        return None
    rows, members = found
    probs = [member[np.searchsorted(rows, train.rows)] for member in members]
    predictions = Predictions(
        train.labels, geometric_mean(probs), run.record.data.class_names, train.rows, train.files, "train",
        images=train.images,
    )  # fmt: skip
    return label_issue_table(predictions, METHODS[0], ["train"] * len(train))
