"""Predictions that a user holds: scored images, and everything that can be asked about them."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from misread.analysis.calibration import Calibration, calibration
from misread.analysis.conformal import ConformalSets, conformal_sets
from misread.analysis.confusion import Confusion
from misread.analysis.label_issues import METHODS, LabelIssues, label_issue_table
from misread.analysis.per_class import PerClass
from misread.analysis.risk_coverage import RiskCoverage
from misread.analysis.scored import Scored
from misread.data.mapped_images import Images
from misread.data.pixel_rows import images_in
from misread.errors import DataError
from misread.messages import Message, recognised
from misread.report.content import Confidence, Content, images_or_note
from misread.report.sections import page_of
from misread.runs.misreads import Misreads
from misread.runs.stored_run import StoredRun

if TYPE_CHECKING:
    from misread.figures.style import Picture

ERROR_LEVEL = 0.01  # of prediction sets


class Predictions(Scored):
    """Labels and predicted probabilities of N images, by a run or by any other model; arguments as `Scored` has them.

    run: the run that made the predictions, if any. Without one, causes come from the probabilities alone.
    """

    run: StoredRun | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        image_shape: Sequence[int] | None = None,
        images: Any | Callable[[], Images] | None = None,
        rows: Any = None,
        files: Sequence[str] | None = None,
        split: str = "test",
        name: str = "",
    ) -> Self:
        """The predictions of a fitted scikit-learn classifier, or of anything else with `predict_proba` and `classes_`.

        X:           what the classifier predicts, (N, ...). y: (N,) labels, of the kind of `classes_`.
        image_shape: (H, W) or (H, W, C) of the images that are the rows of X (N, H * W * C). By default that of the
                     estimator, if it has one as `MisreadClassifier` does.
        images:      the images, if X does not hold them, for example features of them. Images in X are found.
        name:        by default the class of the estimator. rows, files, split: as `Scored` has them.
        Raises DataError: the estimator gives no probabilities, a label is none of its classes, or the shape is wrong.
        """
        if not hasattr(estimator, "predict_proba"):
            raise DataError(
                f"{type(estimator).__name__} has no predict_proba. Wrap it before fitting, for example in "
                "sklearn.calibration.CalibratedClassifierCV."
            )
        probs = estimator.predict_proba(X)
        if images is None:
            images = images_in(X, image_shape or getattr(estimator, "image_shape_", None))
        return cls(
            y, probs, estimator.classes_, rows, files, split, name=name or type(estimator).__name__, images=images
        )

    @cached_property
    def misreads(self) -> Misreads:
        """The misread images, the most confident mistake first; `misreads.table` is a DataFrame.

        Raises DataError or RunError: the images are needed for their hashes, and cannot be loaded.
        """
        return Misreads(self, self.run)

    def confusion(self) -> Confusion:
        """The confusion matrix, the most confused pairs, and the images behind each cell."""
        return Confusion(self)

    def per_class(self) -> PerClass:
        """Support, recall, precision (with 95% Wilson intervals) and F1 of each class."""
        return PerClass(self)

    def calibration(self, calibration_set: Scored | None = None) -> Calibration:
        """How well confidence matches accuracy, and temperature scaling.

        calibration_set: the same model's predictions on validation images, to fit the temperature on. Without it, the
                         temperature is fitted on one half of these images and measured on the other.
        Raises DataError: there are no images, or the calibration set is these images.
        """
        return calibration(self, calibration_set)

    def risk_coverage(self) -> RiskCoverage:
        """The error that remains when the least certain images are left to a person."""
        return RiskCoverage(self)

    def conformal(self, error_level: float = ERROR_LEVEL, calibration_set: Scored | None = None) -> ConformalSets:
        """Sets of classes that hold the label for all but a share `error_level` of images.

        calibration_set: as `calibration` takes it.
        Raises DataError: an error level outside 0..1, or too few images to split.
        """
        return conformal_sets(self, error_level, calibration_set)

    def figures(self, calibration_set: Scored | None = None) -> "dict[str, Picture]":
        """All these pictures, by the names of their files. calibration_set: as `calibration` takes it."""
        return {
            "confusion": self.confusion().figure(),
            "per-class": self.per_class().figure(),
            "reliability": self.calibration(calibration_set).figure(),
            "risk-coverage": self.risk_coverage().figure(),
        }

    def label_issues(self, method: str = METHODS[0]) -> LabelIssues:
        """One line for every image, the most doubtful label first, by one of `label_issues.METHODS`.

        It is meaningful only if the model did not train on these images.
        """
        return label_issue_table(self, method, [self.split] * len(self))

    def report(self, path: str | Path, *, language: str = "en") -> Path:
        """Write the whole analysis as one HTML file; returns its path. language: of the page's own words, "en" or "ko".

        Raises DataError: there are no images to analyse. Raises RunError: the file cannot be written.
        """
        images, notes = images_or_note(self)
        split = recognised(self.split, "split")
        content = Content(
            title=self.name or Message("title.predictions"),
            subtitle=Message("title.images", n=len(self), split=split),
            scored=self,
            images=images,
            notes=notes,
            confidence=confidence_content(self),
            explanation=self.misreads.explanation() if self.misread.any() else None,
            facts=[
                ("Images", Message("fact.images", n=len(self), classes=len(self.class_names), split=split)),
                ("Predicted by", self.name or Message("fact.another-program")),
            ],
        )
        return page_of(content, language).write(Path(path))


def confidence_content(scored: Scored, calibration_set: Scored | None = None) -> Confidence:
    """The page's content about confidence. Raises DataError: there are no images."""
    measured = calibration(scored, calibration_set)
    try:
        return Confidence(measured, conformal_sets(scored, ERROR_LEVEL, calibration_set))
    except DataError:  # too few images to split
        return Confidence(measured, None)
