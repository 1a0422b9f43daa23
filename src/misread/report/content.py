"""The content of a page, as plain values. `runs` gathers it; `sections` makes a page of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from misread.analysis.calibration import Calibration
from misread.analysis.conformal import ConformalSets
from misread.analysis.explanation import Explanation
from misread.analysis.scored import Scored
from misread.data.mapped_images import Images
from misread.errors import MisreadError
from misread.messages import Message
from misread.report.playground import Playground


@dataclass(frozen=True)
class Confidence:
    """How well the confidence of the scored images matches their accuracy. sets: None if there are too few images."""

    calibration: Calibration
    sets: ConformalSets | None


@dataclass(frozen=True)
class SecondModel:
    """A second model, B, on the images of the page.

    scored:   B's probabilities of the same images.
    names:    of A and of B.
    changes:  `change_table` of the two.
    summary:  `Comparison.to_dict`: metrics of both, counts, difference with interval and p-value, and per_class.
    """

    scored: Scored
    names: tuple[str, str]
    changes: pd.DataFrame
    summary: dict[str, object]


@dataclass(frozen=True)
class TrainingCurves:
    """history: one row an epoch. validation: the images that its val columns were measured on."""

    history: pd.DataFrame
    validation: str


@dataclass(frozen=True)
class Content:
    """What a page shows. A section whose content is None is left out. Texts that are messages are said in its language.

    scored:      the images, their labels and the model's probabilities.
    images:      (N, H, W, C) uint8 of `scored`, or None if the page has no pictures.
    confidence:  with it, the page has the whole analysis of `scored`: confusion, gallery, classes, doubtful labels.
    explanation: of all misread images.
    second:      the comparison with a second model.
    playground:  with it, the page has the rooms Draw and Look inside.
    facts:       (name, value): the conditions of the numbers.
    notes:       sentences about what is missing on the page, and why.
    """

    title: str
    subtitle: str
    scored: Scored
    images: Images | None
    facts: Sequence[tuple[str, str]]
    confidence: Confidence | None = None
    explanation: Explanation | None = None
    second: SecondModel | None = None
    training: TrainingCurves | None = None
    playground: Playground | None = None
    notes: Sequence[str] = field(default=())


def images_or_note(scored: Scored) -> tuple[Images | None, list[str]]:
    """The images, or None and a note for the page that says why there are none."""
    if not scored.has_images:
        return None, [Message("note.no-images")]
    try:
        return scored.images, []
    except MisreadError as error:
        return None, [Message("note.no-pictures", error=str(error))]
