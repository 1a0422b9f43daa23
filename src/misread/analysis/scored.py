"""Predictions: what a model said of every image of a split, beside the labels."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.intervals import wilson_interval
from misread.data.image_hash import image_hashes
from misread.data.image_set import checked_images, checked_labels
from misread.data.mapped_images import Images
from misread.data.splits import carve
from misread.errors import DataError
from misread.names import nearest

if TYPE_CHECKING:
    from misread.analysis.calibration import Calibration
    from misread.analysis.conformal import ConformalSets
    from misread.analysis.confusion import Confusion
    from misread.analysis.coverage import Coverage
    from misread.analysis.label_issues import LabelIssues
    from misread.analysis.misreads import Misreads
    from misread.analysis.per_class import PerClass
    from misread.figures.style import Picture

SMALLEST = float(np.finfo(np.float32).tiny)  # stands for a probability too small for float32, so that losses are finite
SUM_TOLERANCE = 0.01  # how far a row's sum may be from 1; float16 over a thousand classes stays well within it


class Predictions:
    """Labels and predicted probabilities of N images, by a run or by any other model.

    labels:      (N,) class indices 0..K-1; or one-hot (N, K); or, of the same kind as `class_names`, the names.
    probs:       (N, K), rows sum to 1: softmax or `predict_proba`, not logits.
    class_names: K names, or K whole numbers as scikit-learn's `classes_` may be; without them 0..K-1.
    rows:        (N,) each image's row in its source; 0..N-1 by default. files: N names, or None.
    split:       the split's name. name: of what and by what, for titles.
    images:      (N, H, W) or (N, H, W, C), uint8 0..255 or floats 0..1; or a function that returns them, called when
                 a picture is wanted.
    Afterwards `labels` and `rows` are int64, `probs` float32, `class_names` a tuple of strings.
    Raises DataError: lengths that differ, labels that are no class, probabilities that are none; says where.
    """

    def __init__(
        self,
        labels: Any,
        probs: Any,
        class_names: Iterable[Any] | None = None,
        rows: Any = None,
        files: Sequence[str] | None = None,
        split: str = "test",
        *,
        name: str = "",
        images: Any | Callable[[], Images] | None = None,
    ) -> None:
        self.probs = _checked_probs(probs)
        n, k = self.probs.shape
        names = list(range(k) if class_names is None else class_names)
        if k != len(names):
            raise DataError(f"probs has {k} columns, but there are {len(names)} classes.")
        self.class_names: tuple[str, ...] = tuple(map(str, names))
        if len(set(self.class_names)) < k:
            raise DataError(f"Class names are not distinct: {', '.join(self.class_names)}.")
        self.labels = _checked_labels(labels, names)
        self.rows: np.ndarray = np.arange(n) if rows is None else np.asarray(rows, dtype=np.int64)
        self.files = None if files is None else tuple(files)
        self.split = split
        self.name = name
        self._images: Images | Callable[[], Images] | None = (
            images if images is None or callable(images) else checked_images(images, "images")
        )
        lengths = {"labels": len(self.labels), "probs": n, "rows": len(self.rows)}
        lengths |= {"files": len(self.files)} if self.files is not None else {}
        lengths |= {} if self._images is None or callable(self._images) else {"images": len(self._images)}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{what} {length:,}" for what, length in lengths.items())
            raise DataError(f"Lengths differ: {said}. All belong to the same images, in the same order.")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"Predictions({self.title}: {len(self):,} images, {len(self.class_names)} classes, "
            f"{int(self.misread.sum()):,} misread)"
        )

    @property
    def title(self) -> str:
        return f"{self.name}, {self.split}" if self.name else self.split

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) int64, the most probable class; of equals the first."""
        return self.probs.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """(N,) float32, the probability of the predicted class."""
        return self.probs.max(axis=1)

    @property
    def margin(self) -> np.ndarray:
        """(N,) float32, the predicted class's probability less the label's: 0 where read right, up to 1 where not."""
        return self.confidence - self.probs[np.arange(len(self)), self.labels]

    @property
    def losses(self) -> np.ndarray:
        """(N,) float64, cross-entropy of each image: minus the log of the label's probability."""
        of_label = self.probs[np.arange(len(self)), self.labels].astype(np.float64)
        return -np.log(of_label.clip(min=SMALLEST))

    @property
    def misread(self) -> np.ndarray:
        """(N,) bool: the predicted class is not the label."""
        return self.predicted != self.labels

    def class_index(self, name: object) -> int:
        """The index of a class by its name. Raises DataError: there is no such class."""
        if str(name) not in self.class_names:
            raise DataError(f"There is no class {str(name)!r}.{nearest(str(name), self.class_names)}")
        return self.class_names.index(str(name))

    @cached_property
    def images(self) -> Images:
        """(N, H, W, C) uint8, in memory or in a file. Raises DataError: the predictions came without images."""
        if self._images is None:
            raise DataError(
                "These predictions have no images to show. Give them: Predictions(labels, probs, images=...)."
            )
        found: Images = self._images() if callable(self._images) else self._images
        return found

    @property
    def has_images(self) -> bool:
        return self._images is not None

    def _with(self, **changed: Any) -> "Predictions":
        kept: dict[str, Any] = {
            "labels": self.labels, "probs": self.probs, "class_names": self.class_names, "rows": self.rows,
            "files": self.files, "split": self.split, "name": self.name, "images": self._images,
        }  # fmt: skip
        return Predictions(**(kept | changed))

    def take(self, positions: np.ndarray, split: str | None = None) -> "Predictions":
        """The predictions of the images at these positions, in this order; `split` renames them."""
        return self._with(
            labels=self.labels[positions],
            probs=self.probs[positions],
            rows=self.rows[positions],
            files=None if self.files is None else [self.files[i] for i in positions],
            split=split or self.split,
            images=(lambda: self.images[positions]) if self.has_images else None,
        )

    def halves(self, seed: int = 0) -> tuple["Predictions", "Predictions"]:
        """Two halves that share no image, half of every class in each, drawn by the seed."""
        first, second = carve(self.labels, 0.5, seed)
        return self.take(first, f"one half of {self.split}"), self.take(second, f"the other half of {self.split}")

    def with_labels(self, labels: Any) -> "Predictions":
        """The same predictions beside other labels, of which (N,) are needed."""
        return self._with(labels=labels)

    def with_temperature(self, temperature: float) -> "Predictions":
        """The same predictions with their logits divided by a temperature, as `calibration` fits one."""
        from misread.analysis.calibration import apply_temperature

        return self._with(probs=apply_temperature(self.probs, temperature))

    def metrics(self, top_k: int | None = None) -> dict[str, float | int]:
        """loss, accuracy with its 95% Wilson interval, n and misread, as `run.json` holds them."""
        n, misread = len(self), int(self.misread.sum())
        low, high = wilson_interval(n - misread, n)
        metrics: dict[str, float | int] = {
            "loss": float(self.losses.mean()) if n else 0.0,
            "accuracy": (n - misread) / n if n else 0.0,
            "accuracy_low": low,
            "accuracy_high": high,
            "n": n,
            "misread": misread,
        }
        if top_k:
            top = np.argsort(-self.probs, axis=1, kind="stable")[:, :top_k]
            metrics[f"top_{top_k}_accuracy"] = float((top == self.labels[:, None]).any(axis=1).mean())
        return metrics

    def misreads(self, images: Images | None = None) -> pd.DataFrame:
        """One line for every misread image, the most confident mistake first; of equals the first in the source.

        images: (N, H, W, C) uint8, the predicted images; without them there is no column hash.
        Columns: index (row in the source), file, label, prediction (names), confidence, margin, loss, rank (of the
        label among the classes, 1 the most probable), second, second_probability, third, third_probability (the next
        two classes after the prediction; no third where there are two classes), hash (`image_hash`).
        """
        positions = np.flatnonzero(self.misread)
        positions = positions[np.lexsort((self.rows[positions], -self.confidence[positions]))]
        probs, labels = self.probs[positions], self.labels[positions]
        order = np.argsort(-probs, axis=1, kind="stable")
        names = np.array(self.class_names, dtype=object)
        table = pd.DataFrame(
            {
                "index": self.rows[positions],
                "file": [self.files[i] for i in positions] if self.files is not None else "",
                "label": names[labels],
                "prediction": names[order[:, 0]],
                "confidence": self.confidence[positions],
                "margin": self.margin[positions],
                "loss": self.losses[positions],
                "rank": (order == labels[:, None]).argmax(axis=1) + 1,
            }
        )
        for place, name in enumerate(("second", "third")[: len(names) - 1], start=1):
            table[name] = names[order[:, place]]
            table[f"{name}_probability"] = np.take_along_axis(probs, order, axis=1)[:, place]
        if images is not None:
            table["hash"] = image_hashes(images[positions])
        return table

    def misread_images(self) -> "Misreads":
        """The misread images: their table, and the wall of them where there are images to show."""
        from misread.analysis.misreads import Misreads

        table, position = self.misreads(), {int(row): i for i, row in enumerate(self.rows)}

        def images_of(rows: np.ndarray) -> np.ndarray:
            return np.asarray(self.images[np.array([position[int(row)] for row in rows], dtype=np.int64)])

        return Misreads(table, len(table), len(self), self.title, images_of)

    def confusion(self) -> "Confusion":
        """Which class was read as which: the matrix, the most confused pairs, and the images behind each cell."""
        from misread.analysis.confusion import Confusion

        return Confusion(self)

    def per_class(self) -> "PerClass":
        """Support, recall, precision (with 95% Wilson intervals) and F1 of each class."""
        from misread.analysis.per_class import PerClass

        return PerClass(self)

    def calibration(self, fit_on: "Predictions | None" = None) -> "Calibration":
        """Whether the confidence can be believed, and temperature scaling.

        fit_on: the same model's predictions on validation images, to fit the temperature on; without them it is
                fitted on one half of these images and measured on the other.
        """
        from misread.analysis.calibration import calibration

        return calibration(self, fit_on)

    def coverage(self) -> "Coverage":
        """The error that remains when the least certain images are left to a person."""
        from misread.analysis.coverage import Coverage

        return Coverage(self)

    def conformal(self, error_level: float = 0.01, fit_on: "Predictions | None" = None) -> "ConformalSets":
        """Sets of classes that hold the label for all but a share `error_level` of images; `fit_on` as above."""
        from misread.analysis.conformal import conformal_sets

        return conformal_sets(self, error_level, fit_on)

    def figures(self, fit_on: "Predictions | None" = None) -> dict[str, "Picture"]:
        """The pictures of all this, by the names of their files. fit_on: as `calibration` takes it."""
        return {
            "confusion": self.confusion().figure(),
            "per-class": self.per_class().figure(),
            "reliability": self.calibration(fit_on).figure(),
            "coverage": self.coverage().figure(),
        }

    def label_issues(self, method: str = "self-confidence") -> "LabelIssues":
        """One line for every image, the most doubtful label first, by one of `label_issues.METHODS`.

        Means something only where the model did not train on these images.
        """
        from misread.analysis.label_issues import label_issue_table

        return label_issue_table(self, method, [self.split] * len(self))

    def report(self, path: str | Path) -> Path:
        """Write the whole analysis as one HTML file; returns its path.

        Raises DataError: there are no images to analyse. Raises RunError: the file cannot be written.
        """
        from misread.report.content import predictions_page

        return predictions_page(self).write(Path(path))


def _checked_probs(raw: Any) -> np.ndarray:
    probs = np.asarray(raw)
    if probs.ndim != 2 or probs.shape[1] < 2:
        hint = ""
        if probs.ndim == 1 or (probs.ndim == 2 and probs.shape[1] == 1):
            hint = "\nWhere p is the probability of the second of two classes, give np.stack([1 - p, p], axis=1)."
        raise DataError(f"probs has the shape {probs.shape}; needed is (N, K), a column for each of K classes.{hint}")
    if probs.dtype.kind not in "fiub":
        raise DataError(f"probs holds {probs.dtype} values, not numbers.")
    probs = probs.astype(np.float32, copy=False)
    sums = probs.sum(axis=1, dtype=np.float64)
    wrong = ~((probs >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE))  # written so that NaN is wrong too
    if wrong.any():
        row = int(np.argmax(wrong))
        low, high = float(probs[row].min()), float(probs[row].max())
        raise DataError(
            f"probs: row {row:,} runs from {low:.4g} to {high:.4g} and sums to {sums[row]:.4g} "
            f"({int(wrong.sum()):,} of {len(probs):,} rows are no probabilities).\n"
            "Needed are numbers from 0 up that sum to 1. Are these logits? Then give scipy.special.softmax(logits, "
            "axis=1)."
        )
    return probs


def _checked_labels(raw: Any, names: list[Any]) -> np.ndarray:
    """int64 class indices. Labels are looked up among the names where both are text or both are whole numbers."""
    labels = np.asarray(raw)
    kinds = {np.asarray(names).dtype.kind, labels.dtype.kind}
    if labels.ndim == 1 and len(labels) and (kinds <= set("UO") or kinds <= set("iu")):
        index = {name: k for k, name in enumerate(names)}
        found = [index.get(label, -1) for label in labels.tolist()]
        if -1 in found:
            row = found.index(-1)
            listed = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
            raise DataError(
                f"labels has {labels.tolist()[row]!r} at row {row:,}, which is no class; there are {listed}."
            )
        return np.array(found, dtype=np.int64)
    indices, _width = checked_labels(labels, "labels")
    if len(indices) and indices.max() >= len(names):
        row = int(np.argmax(indices >= len(names)))
        raise DataError(
            f"labels has {indices[row]} at row {row:,}, outside 0..{len(names) - 1} for the {len(names)} classes."
        )
    return indices
