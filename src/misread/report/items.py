"""The images on a page, as the page's script reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from misread.analysis.explanation import Explanation
from misread.analysis.scored import Scored
from misread.data.image_hash import image_hashes
from misread.data.mapped_images import Images
from misread.messages import plain
from misread.report.pictures import MISREAD, TRAINING, encoded_pictures

TOP = 3  # classes whose probabilities are shown


class Items:
    """Every image that a page shows, once. Its place is its line in the columns of `data`.

    scored: the images. other: a second model's scores of the same images, or None.
    images: (N, H, W, C) uint8 of the scored images, or None if the page has no pictures.
    """

    def __init__(self, scored: Scored, images: Images | None, other: Scored | None = None) -> None:
        self._scored, self._images, self._other = scored, images, other
        self._places: dict[int, int] = {}
        self._explanation: Explanation | None = None

    @property
    def have_images(self) -> bool:
        return self._images is not None

    def add(self, positions: np.ndarray) -> list[int]:
        """Places of the images at these positions of the scored images."""
        return [self._places.setdefault(p, len(self._places)) for p in positions.tolist()]

    def explain(self, explanation: Explanation) -> None:
        """Add cause, evidence and nearest training images of the explained images."""
        self._explanation = explanation

    def data(self) -> dict[str, Any]:
        """Columns of values, and pictures. Classes are indices into the page's class names.

        items:    a value an image: index (row in the source), label, margin, loss; file if there are files; top and
                  shares, the most probable classes and their probabilities, a fixed number of values an image; hash if
                  there are images; b (margin, top, shares) if there is another model. If there is an explanation: cause
                  (place in `causes`, or -1), cause_probability, evidence (a `plain` message), and near (lines of
                  `training`, the nearest first).
        training: the nearest training images: label, and file or index.
        pictures: `encoded_pictures` of items and of training, with a `plain` message.
        """
        positions = np.array(list(self._places), dtype=np.int64)
        few = self._scored.take(positions)
        items: dict[str, Any] = {"index": few.rows.tolist(), "label": few.labels.tolist()}
        if few.files is not None:
            items["file"] = list(few.files)
        items |= _scores(few) | {"loss": rounded(few.losses)}
        if self._other is not None:
            items["b"] = _scores(self._other.take(positions))
        data: dict[str, Any] = {"items": items, "pictures": {}}
        if self._images is not None:
            pixels = self._images
            items["hash"] = image_hashes(pixels[positions])
            data["pictures"]["items"] = encoded_pictures(lambda rows: np.asarray(pixels[rows]), positions, MISREAD)
        if self._explanation is not None:
            places = [self._places[p] for p in self._scored.misread_positions.tolist()]
            data |= _explained(items, places, self._explanation, self._scored)
            rows = self._explanation.neighbours["training_index"].drop_duplicates().to_numpy(dtype=np.int64)
            if len(rows):
                data["pictures"]["training"] = encoded_pictures(self._explanation.training_images_of, rows, TRAINING)
        for pictures in filter(None, data["pictures"].values()):
            pictures["changed"] = plain(pictures["changed"])
        return data


def _scores(few: Scored) -> dict[str, Any]:
    order = np.argsort(-few.probs, axis=1, kind="stable")[:, :TOP]
    return {
        "margin": rounded(few.margin),
        "top": order.ravel().tolist(),
        "shares": rounded(np.take_along_axis(few.probs, order, axis=1)),
    }


def _explained(items: dict[str, Any], places: list[int], explanation: Explanation, scored: Scored) -> dict[str, Any]:
    """Adds the columns of the explanation to `items`; returns `causes` and the columns of `training`.

    places: of the explained images among the items.
    """
    reasons = explanation.reasons.set_index(pd.Index(places)).reindex(range(len(items["index"])))
    causes, names = pd.factorize(reasons["cause"])
    evidence = dict(zip(places, explanation.evidence, strict=True))
    near = explanation.neighbours
    once = near.drop_duplicates("training_index")
    lines = dict(zip(once["training_index"].tolist(), range(len(once)), strict=True))
    nearest: dict[int, list[int]] = {}
    for row, training_row in zip(near["index"].tolist(), near["training_index"].tolist(), strict=True):
        nearest.setdefault(row, []).append(lines[training_row])
    items |= {
        "cause": causes.tolist(),
        "cause_probability": rounded(reasons["cause_probability"].fillna(0).to_numpy()),
        "evidence": [plain(evidence.get(place, "")) for place in range(len(items["index"]))],
        "near": [nearest.get(row, []) for row in items["index"]],
    }
    classes = {name: k for k, name in enumerate(scored.class_names)}
    name = "file" if once["training_file"].any() else "index"
    training = {"label": [classes[label] for label in once["training_label"]], name: once[f"training_{name}"].tolist()}
    return {"causes": list(names), "training": training}


def rounded(values: np.ndarray | Sequence[float]) -> list[float]:
    """Six digits: more than the page shows or sorts by, and a page that is a third smaller."""
    return [float(f"{value:.6g}") for value in np.ravel(values).tolist()]
