"""The images on a page, as the page's script reads them."""

from typing import Any

import numpy as np

from misread.analysis.explanation import Explanation
from misread.analysis.records import records
from misread.analysis.scored import Scored
from misread.data.image_hash import image_hashes
from misread.data.mapped_images import Images
from misread.report.pictures import Pictures

TOP = 3  # classes whose probabilities are shown


class Items:
    """Every image that a page shows, once. Classes are indices into the page's class names.

    scored: the images. other: a second model's scores of the same images, or None.
    images: (N, H, W, C) uint8 of the scored images, or None if the page has no pictures.
    Each of `lines` has index (row in the source), file, label, prediction, confidence, margin, loss, top (pairs of
    class and probability); also picture (place in `pictures`) and hash if there are images; b (prediction, confidence,
    margin, top) if there is another model; cause, cause_probability, evidence and neighbours if it is explained.
    """

    def __init__(self, scored: Scored, images: Images | None, other: Scored | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self.pictures = Pictures()
        self._scored, self._images, self._other = scored, images, other
        self._places: dict[int, int] = {}

    @property
    def have_images(self) -> bool:
        return self._images is not None

    def add(self, positions: np.ndarray) -> list[int]:
        """Places in `lines` of the images at these positions of the scored images."""
        new = np.array([p for p in positions.tolist() if p not in self._places], dtype=np.int64)
        lines = _lines(self._scored, new)
        if self._other is not None:
            for line, theirs in zip(lines, _lines(self._other, new), strict=True):
                line["b"] = {key: theirs[key] for key in ("prediction", "confidence", "margin", "top")}
        if self._images is not None and len(new):
            pixels = np.asarray(self._images[new])
            for line, image, name in zip(lines, pixels, image_hashes(pixels), strict=True):
                line |= {"picture": self.pictures.add(image), "hash": name}
        self._places |= {int(p): len(self.lines) + i for i, p in enumerate(new)}
        self.lines += lines
        return [self._places[p] for p in positions.tolist()]

    def explain(self, explanation: Explanation) -> None:
        """Add cause, evidence and nearest training images to the lines of the explained images."""
        classes = {name: k for k, name in enumerate(self._scored.class_names)}
        of_row = {}
        for position, reason in zip(self._scored.misread_positions.tolist(), records(explanation.reasons), strict=True):
            line = of_row[reason.pop("index")] = self.lines[self._places[position]]
            line |= {**reason, "cause_probability": _short(reason["cause_probability"]), "neighbours": []}
        if not len(explanation.neighbours):
            return
        pixels = explanation.training_images_of(explanation.neighbours["training_index"].to_numpy())
        for near, image in zip(records(explanation.neighbours), pixels, strict=True):
            of_row[near["index"]]["neighbours"].append(
                {
                    "index": near["training_index"],
                    "file": near["training_file"],
                    "label": classes[near["training_label"]],
                    "distance": round(near["distance"], 4),
                    "picture": self.pictures.add(image),
                }
            )


def _lines(scored: Scored, positions: np.ndarray) -> list[dict[str, Any]]:
    few = scored.take(positions)
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
    """Six digits: more than the page shows or sorts by, and a page that is a third smaller."""
    return float(f"{float(value):.6g}")
