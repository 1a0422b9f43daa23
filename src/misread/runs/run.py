"""The run that a user holds: the same after training and after opening its folder."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from misread.analysis.calibration import Calibration
from misread.analysis.conformal import ConformalSets
from misread.analysis.confusion import Confusion
from misread.analysis.label_issues import METHODS, LabelIssues
from misread.analysis.per_class import PerClass
from misread.analysis.risk_coverage import RiskCoverage
from misread.data.image_set import ImageSet, Split
from misread.data.label_patch import read_patch
from misread.data.load import load
from misread.data.npz import read_npz
from misread.errors import DataError, RunError
from misread.report.sections import page_of
from misread.runs import run_folder
from misread.runs.card import card_text, write_card
from misread.runs.download import download_run
from misread.runs.hub import hub_address
from misread.runs.misreads import Misreads
from misread.runs.predictions import ERROR_LEVEL, Predictions
from misread.runs.record import label_patch_record
from misread.runs.run_report import run_content
from misread.runs.stored_run import StoredRun

GRID = 16  # misread images in a run's picture


class Run(StoredRun):
    """One training and its results. `train` returns one, `open_run` opens one from its folder.

    Large parts are read on first use: the network, the predictions, the data.
    """

    def __repr__(self) -> str:
        test = self.metrics["test"]
        return (
            f"Run({self.folder}: {self.record.recipe} on {self.record.data.name}, {self.record.status}, "
            f"test accuracy {test['accuracy']:.2%}, {test['misread']:,} of {test['n']:,} misread)"
        )

    def predictions(self, split: str = "test") -> Predictions:
        """Labels and predicted probabilities of a split, computed or read once; those of test are in the run folder.

        Raises DataError or RunError: they are not in the folder, and data or network cannot be loaded.
        """
        if split not in self._predictions:
            found = self._stored(split) or self._predict_split(self.split(split), split, self.record.data.name)
            found.run = self
            self._predictions[split] = found
        return self._predictions[split]

    @cached_property
    def _predictions(self) -> dict[str, Predictions]:
        return {}

    def _stored(self, split: str) -> Predictions | None:
        """The predictions in the run folder."""
        path = self.folder / run_folder.predictions_file(split)
        if not path.is_file():
            return None
        arrays, record = read_npz(path), self.record.data
        files = tuple(map(str, arrays["files"])) if "files" in arrays else None
        return Predictions(
            arrays["labels"], arrays["probs"], record.class_names, arrays["index"], files, split,
            name=self._name(record.name), images=lambda: self.split(split).images,
        )  # fmt: skip

    def calibration_set(self, split: str = "test") -> Predictions | None:
        """Predictions on validation images, for methods that are fitted before they are measured on `split`.

        None if no such images exist: the recipe shows the test split as validation, or `split` is not test. The methods
        then fit on one half of the split and measure on the other.
        Raises DataError or RunError: the data or the network cannot be loaded.
        """
        if split != "test" or self.recipe.validation.name == "show-test":
            return None
        return self.predictions("val")

    def confusion(self, split: str = "test") -> Confusion:
        """The confusion matrix, the most confused pairs, and the images behind each cell."""
        return self.predictions(split).confusion()

    def per_class(self, split: str = "test") -> PerClass:
        """Support, recall, precision (with 95% Wilson intervals) and F1 of each class."""
        return self.predictions(split).per_class()

    def calibration(self, split: str = "test") -> Calibration:
        """How well confidence matches accuracy, and temperature scaling fitted on `calibration_set`."""
        return self.predictions(split).calibration(self.calibration_set(split))

    def risk_coverage(self, split: str = "test") -> RiskCoverage:
        """The error that remains when the least certain images are left to a person."""
        return self.predictions(split).risk_coverage()

    def conformal(self, error_level: float = ERROR_LEVEL, split: str = "test") -> ConformalSets:
        """Sets of classes that hold the label for all but a share `error_level` of images; see `calibration_set`."""
        return self.predictions(split).conformal(error_level, self.calibration_set(split))

    def evaluate(
        self, data: ImageSet | str | Path | None = None, split: str = "test", label_patch: str | Path | None = None
    ) -> dict[str, Any]:
        """Metrics on a split of the run's data, or of other data with the same classes.

        Returns the keys of `run.json`'s metrics, and `data`: its name, fingerprint, and whether it is the run's own.
        label_patch: a patch file. The metrics stay those on the labels as loaded; the key `fixed` has the metrics on
        the fixed labels, and `label_patch` a record of the fixes.
        If misread carved the data's test split, other data is evaluated whole. Of the run's own data only the carved
        split counts, since the run may have trained on the other images.
        Raises DataError: other classes, images of another shape, or a patch that cannot be used.
        """
        predictions, used = self.predict_on(data, split)
        fixed = {} if label_patch is None else self.fixed_scores(predictions, used, label_patch)
        return {**self.scores(predictions, used), **fixed}

    def scores(self, predictions: Predictions, data: ImageSet) -> dict[str, Any]:
        """What `evaluate` returns, for what `predict_on` returned."""
        same = data.fingerprint == self.record.data.fingerprint
        data_facts = {"name": data.name, "fingerprint": data.fingerprint, "same": same}
        return {"split": predictions.split, **predictions.metrics(self.recipe.top_k), "data": data_facts}

    def fixed_scores(self, predictions: Predictions, data: ImageSet, label_patch: str | Path) -> dict[str, Any]:
        """What a label patch adds to `scores`: the metrics on the fixed labels, and a record of the fixes."""
        fixed = read_patch(label_patch).fix(data)
        same = data.fingerprint == self.record.data.fingerprint
        split = (self._split_of if same else ImageSet.split)(fixed.data, predictions.split)
        return {
            "fixed": predictions.with_labels(split.labels).metrics(self.recipe.top_k),
            "label_patch": label_patch_record(fixed).model_dump(),
        }

    def split_with_fixes(self, split: str) -> Split:
        """A split of the run's data with the labels that its own label patch fixed."""
        return self._split_of(read_patch(self.folder / run_folder.LABEL_PATCH).fix(self.data).data, split)

    def predict_on(
        self, data: ImageSet | str | Path | None = None, split: str = "test"
    ) -> tuple[Predictions, ImageSet]:
        """Predictions by the network as it is now, on the split that `evaluate` scores; and the data of that split."""
        if data is None:
            return self._predict_split(self.split(split), split, self.data.name), self.data
        given = data if isinstance(data, ImageSet) else load(data, size=self.record.data.image_shape[:2])
        if given.fingerprint == self.record.data.fingerprint:
            self._data = given
            return self._predict_split(self.split(split), split, given.name), given
        self._check_fits(given)
        split = "all" if split == "test" and given.carved_test else split
        return self._predict_split(given.split(split), split, given.name), given

    def _check_fits(self, data: ImageSet) -> None:
        record = self.record.data
        if data.class_names != record.class_names:
            raise DataError(
                f"{data.name} has the classes {', '.join(data.class_names)}; "
                f"the run in {self.folder} has {', '.join(record.class_names)}."
            )
        if data.image_shape != record.image_shape:
            raise DataError(
                f"{data.name} has images of {data.image_shape} (H, W, C); "
                f"the run in {self.folder} was trained on {record.image_shape}."
            )

    def _predict_split(self, split: Split, split_name: str, data_name: str) -> Predictions:
        probs = self.predictor.probs(split.images)
        return Predictions(
            split.labels, probs, self.record.data.class_names, split.rows, split.files, split_name,
            name=self._name(data_name), images=lambda: split.images,
        )  # fmt: skip

    def _name(self, data_name: str) -> str:
        return f"{self.record.recipe} on {data_name}"

    @property
    def misreads(self) -> Misreads:
        """The misread test images, the most confident mistake first; of other splits: `predictions(split).misreads`."""
        return self.predictions().misreads

    def label_issues(self, split: str = "test", method: str = METHODS[0]) -> LabelIssues:
        """The images of a split as a DataFrame, the most doubtful label first; by `analysis.label_issues.METHODS`.

        Raises RunError: the run trained on this split, so its probabilities repeat the labels there.
        """
        if split not in ("test", "val"):
            raise RunError(
                f"The run in {self.folder} trained on its {split} images and repeats their labels, also wrong ones.\n"
                "Use `misread labels DATA` (misread.cross_val_predict in Python): its networks did not see the image."
            )
        return self.predictions(split).label_issues(method)

    def save_figures(self) -> Path:
        """Draw every picture into the run folder's `figures`, as PNG and as SVG; returns that folder.

        Raises DataError or RunError: the data cannot be loaded, or the folder cannot be written.
        """
        pictures = {
            "history": self.history.plot(),
            "misreads": self.misreads.sample(GRID, seed=0).figure(),
            **self.predictions().figures(self.calibration_set()),
        }
        folder = self.place_for(run_folder.FIGURES)
        try:
            folder.mkdir(exist_ok=True)
            for name, picture in pictures.items():
                for kind in ("png", "svg"):
                    picture.save(folder / f"{name}.{kind}")
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror}.") from None
        return folder

    def report(
        self,
        path: str | Path | None = None,
        *,
        compare: "Run | None" = None,
        others: Sequence["Run"] = (),
        causes: bool = True,
        playground: bool = False,
        language: str = "en",
        progress: Callable[[str], None] | None = None,
    ) -> Path:
        """Write the whole analysis of the test split as one HTML file; returns its path.

        path:     by default `report.html` in the run folder.
        compare:  a second run; the page then has a comparison with it.
        others:   runs on the same data whose predictions are evidence for causes.
        causes:   whether to find the causes; it takes seconds and needs the training images.
        playground: the page gets the rooms Draw and Look inside, with the network and some images in it.
        language: of the page's own words, "en" or "ko".
        progress: called with a line before each step that takes long.
        Raises RunError or DataError: the network cannot run in a page, the second run cannot be compared, another run
        may have trained on these images, or the file cannot be written.
        """
        target = Path(path) if path else self.place_for(run_folder.REPORT)
        content = run_content(
            self.predictions(),
            self,
            self.calibration_set,
            second=compare.predictions() if compare else None,
            others=others,
            causes=causes,
            playground=playground,
            progress=progress or (lambda line: None),
        )
        written = page_of(content, language).write(target)
        if content.explanation:
            with suppress(RunError):  # the page is written, also of a run in a folder that is read-only
                self._write_card(content.explanation.reasons["cause"])
        return written

    def card(self) -> str:
        """The model card, `README.md` in the run folder; written if the folder has none.

        Raises RunError: it cannot be read or written.
        """
        path = self.folder / run_folder.CARD
        if not path.is_file():
            self._write_card()
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None

    def _write_card(self, causes: pd.Series | None = None) -> None:
        picture = (self.folder / run_folder.FIGURES / "misreads.png").is_file()
        self.place_for(run_folder.CARD)
        text = card_text(self.record, self.recipe, self.predictions(), causes=causes, picture=picture)
        try:
            write_card(self.folder, text)
        except OSError as error:
            raise RunError(f"{self.folder / run_folder.CARD} cannot be written: {error.strerror}.") from None


def open_run(
    folder: str | Path, *, data: ImageSet | None = None, network: nn.Module | None = None, device: str = "auto"
) -> Run:
    """Open a run folder, or `hf://USER/NAME` or `hf://USER/NAME@REVISION`: a run on the Hugging Face Hub.

    A run from the Hub is downloaded into the cache, once, and is read-only. Its own images are loaded if its data has a
    name; else give them.
    data:    the image set, if the run was trained on arrays in memory.
    network: an untrained module of the same class, if the run's network is a module from Python; it gets the weights.
    Raises RunError: not a run folder, incomplete, damaged, or from a newer misread; see also `download_run`.
    """
    address = hub_address(folder)
    folder = download_run(address) if address else Path(folder)
    record = run_folder.read_record(folder)
    if data is not None and data.fingerprint != record.data.fingerprint:
        raise RunError(
            f"The data given is not what the run in {folder} was trained on: its fingerprint is "
            f"{data.fingerprint[:12]}, not {record.data.fingerprint[:12]}. To score other data use run.evaluate(data)."
        )
    return Run(folder, record, data=data, network=network, device=device)
