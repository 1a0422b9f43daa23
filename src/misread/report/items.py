"""The images on a page, as the page's script reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from misread.analysis.misreads import Misreads
from misread.analysis.predictions import Predictions
from misread.analysis.records import records
from misread.data.image_hash import image_hashes
from misread.data.mapped_images import Images
from misread.report.album import Album

TOP = 3  # classes whose probabilities are shown


class Items:
    """Every image that a page shows, once. Classes are indices into the page's class names.

    predictions: of which these are images. other: a second model's of the same images, or None.
    images:      (N, H, W, C) of the predictions, or None where there are none to be had.
    Each of `lines` has index (row in the source), file, label, prediction, confidence, margin, loss, top (pairs of
    class and probability); also picture (place in the album) and hash where there are images; b (prediction,
    confidence, margin, top) where there is another model; cause, evidence and neighbours where they are known.
    """

    def __init__(self, predictions: Predictions, images: Images | None, other: Predictions | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self.album = Album()
        self._predictions, self._images, self._other = predictions, images, other
        self._places: dict[int, int] = {}

    @property
    def have_images(self) -> bool:
        return self._images is not None

    def add(self, positions: np.ndarray) -> list[int]:
        """Places in `lines` of the images at these positions of the predictions."""
        new = np.array([p for p in positions.tolist() if p not in self._places], dtype=np.int64)
        lines = _lines(self._predictions, new)
        if self._other is not None:
            for line, theirs in zip(lines, _lines(self._other, new), strict=True):
                line["b"] = {key: theirs[key] for key in ("prediction", "confidence", "margin", "top")}
        if self._images is not None and len(new):
            pictures = np.asarray(self._images[new])
            for line, image, name in zip(lines, pictures, image_hashes(pictures), strict=True):
                line |= {"picture": self.album.add(image), "hash": name}
        self._places |= {int(p): len(self.lines) + i for i, p in enumerate(new)}
        self.lines += lines
        return [self._places[p] for p in positions.tolist()]

    def explain(self, places: Sequence[int], explained: Misreads) -> None:
        """Add cause, evidence and nearest training images, of explained misreads in the same order."""
        classes = {name: k for k, name in enumerate(self._predictions.class_names)}
        for place, line in zip(places, records(explained.table[["cause", "evidence"]]), strict=True):
            self.lines[place] |= {**line, "neighbours": []}
        near, found = explained.neighbours, explained.explanation
        of_row = dict(zip(explained.table["index"].tolist(), places, strict=True))
        if found is None or not len(near):
            return
        pictures = found.training_images_of(near["training_index"].to_numpy())
        for line, image in zip(records(near), pictures, strict=True):
            self.lines[of_row[line["index"]]]["neighbours"].append(
                {
                    "index": line["training_index"],
                    "file": line["training_file"],
                    "label": classes[line["training_label"]],
                    "distance": round(line["distance"], 4),
                    "picture": self.album.add(image),
                }
            )


def _lines(predictions: Predictions, positions: np.ndarray) -> list[dict[str, Any]]:
    few = predictions.take(positions)
    order = np.argsort(-few.probs, axis=1, kind="stable")[:, :TOP]
    top = np.take_along_axis(few.probs, order, axis=1)
    margin, losses = few.margin, few.losses
    return [
        {
            "index": int(few.rows[i]),
            "file": few.files[i] if few.files is not None else "",
            "label": int(few.labels[i]),
            "prediction": int(order[i, 0]),
            "confidence": _short(top[i, 0]),
            "margin": _short(margin[i]),
            "loss": _short(losses[i]),
            "top": [[int(k), _short(p)] for k, p in zip(order[i], top[i], strict=True)],
        }
        for i in range(len(few))
    ]


def _short(value: Any) -> float:
    """Six digits: more than is shown or sorted by, and a page that is smaller by a third."""
    return float(f"{float(value):.6g}")
