"""Scored images: the labels and a model's probabilities, side by side."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from misread.analysis.checks import checked_probs, class_indices
from misread.analysis.class_means import accuracy_warnings, class_means
from misread.analysis.intervals import wilson_interval
from misread.analysis.probabilities import SMALLEST
from misread.analysis.temperature import apply_temperature
from misread.data.image_set import checked_images
from misread.data.mapped_images import Images
from misread.data.splits import carve
from misread.errors import DataError
from misread.messages import Message, recognised
from misread.names import nearest


class Scored:
    """Labels and predicted probabilities of N images, from a run or from any other model.

    labels:      (N,) class indices 0..K-1; or one-hot (N, K); or names of the same kind as `class_names`.
    probs:       (N, K), rows sum to 1: the output of softmax or `predict_proba`, not logits.
    class_names: K names, or K whole numbers such as scikit-learn's `classes_`; 0..K-1 by default.
    rows:        (N,) each image's row in its source; 0..N-1 by default. files: N names, or None.
    split:       the split's name. name: the model and the data, for titles.
    images:      (N, H, W) or (N, H, W, C), uint8 0..255 or floats 0..1; or a function that returns them, called when
                 a picture is wanted.
    Afterwards `labels` and `rows` are int64, `probs` float32, `class_names` a tuple of strings.
    Raises DataError: lengths differ, a label is not a class, or a row of probs is no probabilities; says where.
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
        self.probs = checked_probs(probs).astype(np.float32, copy=False)
        n, k = self.probs.shape
        names = list(range(k) if class_names is None else class_names)
        if k != len(names):
            raise DataError(f"probs has {k} columns, but there are {len(names)} classes.")
        self.class_names: tuple[str, ...] = tuple(map(str, names))
        if len(set(self.class_names)) < k:
            raise DataError(f"Class names are not distinct: {', '.join(self.class_names)}.")
        self.labels = class_indices(labels, names)
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
            listed = ", ".join(f"{what} {length:,}" for what, length in lengths.items())
            raise DataError(f"Lengths differ: {listed}. All belong to the same images, in the same order.")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.title}: {len(self):,} images, {len(self.class_names)} classes, "
            f"{int(self.misread.sum()):,} misread)"
        )

    @property
    def title(self) -> str:
        return f"{self.name}, {self.split}" if self.name else self.split

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) int64, the most probable class; the first of equals."""
        return self.probs.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """(N,) float32, the probability of the predicted class."""
        return self.probs.max(axis=1)

    @property
    def margin(self) -> np.ndarray:
        """(N,) float32, the predicted class's probability minus the label's: 0 if they are one class, at most 1."""
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

    @cached_property
    def misread_positions(self) -> np.ndarray:
        """(M,) int64, the positions of the misread images: the most confident first, equals in the source's order."""
        positions = np.flatnonzero(self.misread)
        return positions[np.lexsort((self.rows[positions], -self.confidence[positions]))]

    def class_index(self, name: object) -> int:
        """The index of a class by its name. Raises DataError: there is no such class."""
        if str(name) not in self.class_names:
            raise DataError(f"There is no class {str(name)!r}.{nearest(str(name), self.class_names)}")
        return self.class_names.index(str(name))

    @cached_property
    def images(self) -> Images:
        """(N, H, W, C) uint8, in memory or in a file. Raises DataError: there are none."""
        if self._images is None:
            raise DataError(
                "These predictions have no images to show. Give them: Predictions(labels, probs, images=...)."
            )
        found: Images = self._images() if callable(self._images) else self._images
        return found

    @property
    def has_images(self) -> bool:
        return self._images is not None

    def _with(self, **changes: Any) -> Self:
        unchanged: dict[str, Any] = {
            "labels": self.labels, "probs": self.probs, "class_names": self.class_names, "rows": self.rows,
            "files": self.files, "split": self.split, "name": self.name, "images": self._images,
        }  # fmt: skip
        return type(self)(**(unchanged | changes))

    def take(self, positions: np.ndarray, split: str | None = None) -> Self:
        """The images at these positions, in this order. split: a new name of the split."""
        return self._with(
            labels=self.labels[positions],
            probs=self.probs[positions],
            rows=self.rows[positions],
            files=None if self.files is None else [self.files[i] for i in positions],
            split=split or self.split,
            images=(lambda: self.images[positions]) if self.has_images else None,
        )

    def split_halves(self, seed: int = 0) -> tuple[Self, Self]:
        """Two halves without a common image. Each has half of every class, drawn by the seed."""
        first, second = carve(self.labels, 0.5, seed)
        split = recognised(self.split, "split")
        return (
            self.take(first, Message("split.one-half", split=split)),
            self.take(second, Message("split.other-half", split=split)),
        )

    def with_labels(self, labels: Any) -> Self:
        """The same probabilities with other labels (N,)."""
        return self._with(labels=labels)

    def with_temperature(self, temperature: float) -> Self:
        """The same images with their logits divided by a temperature; `calibration` fits one."""
        return self._with(probs=apply_temperature(self.probs, temperature))

    def accuracy_warnings(self) -> list[str]:
        """Why the accuracy may mislead, a sentence each; empty if there is no reason."""
        return accuracy_warnings(self.labels, self.predicted, self.class_names)

    def metrics(self, top_k: int | None = None) -> dict[str, float | int]:
        """The metrics that `run.json` holds.

        loss, accuracy with its 95% Wilson interval, n, misread; balanced_accuracy: the mean recall of the classes that
        occur; macro_f1: the mean F1 of the classes that occur or were predicted.
        top_k: adds `top_<k>_accuracy`, the share of images whose label is among the k most probable classes.
        """
        n, misread = len(self), int(self.misread.sum())
        low, high = wilson_interval(n - misread, n)
        metrics: dict[str, float | int] = {
            "loss": float(self.losses.mean()) if n else 0.0,
            "accuracy": (n - misread) / n if n else 0.0,
            "accuracy_low": low,
            "accuracy_high": high,
            **class_means(self.labels, self.predicted, len(self.class_names)),
            "n": n,
            "misread": misread,
        }
        if top_k:
            top = np.argsort(-self.probs, axis=1, kind="stable")[:, :top_k]
            metrics[f"top_{top_k}_accuracy"] = float((top == self.labels[:, None]).any(axis=1).mean())
        return metrics
