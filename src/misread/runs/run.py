"""The run object: the same after training and after opening its folder."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from misread.analysis.calibration import Calibration
from misread.analysis.conformal import ConformalSets
from misread.analysis.confusion import Confusion
from misread.analysis.coverage import Coverage
from misread.analysis.label_issues import LabelIssues
from misread.analysis.misreads import Misreads
from misread.analysis.per_class import PerClass
from misread.analysis.predictions import Predictions
from misread.data.geometry import Geometry, fit_picture
from misread.data.image_hash import image_hashes
from misread.data.image_set import ImageSet, Split
from misread.data.label_patch import read_patch
from misread.data.load import load
from misread.data.picture import read_picture
from misread.errors import DataError, RunError
from misread.models.summary import Summary, summarise
from misread.runs import run_folder
from misread.runs.explain import explain
from misread.runs.history import History
from misread.runs.record import RunRecord, label_patch_record
from misread.training.device import pick_device
from misread.training.networks import predictor_network, recipe_network
from misread.training.predict import Predictor
from misread.training.recipe import Recipe, parse_recipe

GRID = 16  # misread images in a run's picture


class Run:
    """One training and what came of it. `train` returns one, `open_run` opens one from its folder.

    What is large is read when it is first asked for: the network, the predictions, the data.
    """

    def __init__(
        self,
        folder: Path,
        record: RunRecord,
        *,
        data: ImageSet | None = None,
        network: nn.Module | None = None,
        device: str = "auto",
    ) -> None:
        self.folder = folder
        self.record = record
        self._data = data
        self._network = network
        self._device = device

    def __repr__(self) -> str:
        test = self.metrics["test"]
        return (
            f"Run({self.folder}: {self.record.recipe} on {self.record.data.name}, {self.record.status}, "
            f"test accuracy {test['accuracy']:.2%}, {test['misread']:,} of {test['n']:,} misread)"
        )

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float | int]]:
        """Metrics by split, as `run.json` holds them."""
        return self.record.metrics

    @property
    def device(self) -> torch.device:
        return pick_device(self._device)

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe. Raises RunError: its file is missing or damaged."""
        text = self._read(run_folder.RECIPE).decode()
        try:
            return parse_recipe(tomllib.loads(text), str(self.folder / run_folder.RECIPE))
        except tomllib.TOMLDecodeError as error:
            raise RunError(f"{self.folder / run_folder.RECIPE} is damaged: {error}.") from None

    @cached_property
    def history(self) -> History:
        """One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds."""
        self._read(run_folder.HISTORY)
        rows = pd.read_csv(self.folder / run_folder.HISTORY).to_dict("records")
        title = f"{self.record.recipe} on {self.record.data.name}"
        shown = "the test split" if self.recipe.validation.name == "show-test" else "validation split"
        return History.of(rows, title, shown)  # type: ignore[arg-type]

    @property
    def data(self) -> ImageSet:
        """The data the run was trained on, loaded again where it was trained in another process.

        Raises DataError: it is not there any more. Raises RunError: what is there now is other data.
        """
        if self._data is None:
            record = self.record.data
            if not record.source:
                raise RunError(
                    f"The run in {self.folder} was trained on arrays in memory; open it with their image set: "
                    "open_run(folder, data=...)."
                )
            data = load(record.source, size=record.size)
            if data.fingerprint != record.fingerprint:
                raise RunError(
                    f"{record.source} is no longer the data that the run in {self.folder} was trained on: "
                    f"its fingerprint is {data.fingerprint[:12]}, not {record.fingerprint[:12]}."
                )
            self._data = data
        return self._data

    @cached_property
    def network(self) -> nn.Module:
        """The trained network, on the run's device, in evaluation mode.

        Raises RunError: weights missing, damaged or of another network; or a module from Python that has to be given.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load as load_weights

        record = self.record
        network = self._network
        if network is None:
            if record.model.network != "recipe":
                raise RunError(
                    f"The network of the run in {self.folder} is a module from Python, {record.model.network}; "
                    "open it with such a module: open_run(folder, network=...)."
                )
            network = recipe_network(self.recipe, record.data.image_shape, len(record.data.class_names))
        try:
            weights = load_weights(self._read(run_folder.WEIGHTS))
            network.load_state_dict(weights)
        except SafetensorError as error:
            raise RunError(f"{self.folder / run_folder.WEIGHTS} is damaged: {error}.") from None
        except RuntimeError as error:
            problems = "\n  ".join(line.strip() for line in str(error).splitlines()[1:])
            raise RunError(f"{self.folder / run_folder.WEIGHTS} does not fit the network:\n  {problems}") from None
        return predictor_network(network, self.recipe).to(self.device).eval()

    @cached_property
    def predictor(self) -> Predictor:
        """The network made ready to predict, with the weights that it has when this is first asked for."""
        return Predictor(self.network, self.record.data.image_shape, self.device)

    @cached_property
    def summary(self) -> Summary:
        """The network's layers, output shapes and parameters."""
        return summarise(self.network, self.record.data.image_shape)

    def split(self, name: str) -> Split:
        """The images of a split as the run used it: a validation split carved from train is the same one."""
        return self._split_of(self.data, name)

    def _split_of(self, data: ImageSet, name: str) -> Split:
        """data: the run's own images, with these or other labels."""
        carved = np.load(self.folder / run_folder.SPLITS) if (self.folder / run_folder.SPLITS).is_file() else {}
        if name in ("train", "val") and f"{name}_rows" in carved:
            train = data.train
            return train.take(np.searchsorted(train.rows, carved[f"{name}_rows"]))
        if name == "val" and self.recipe.validation.name == "show-test":
            return data.test
        return data.split(name)

    def predictions(self, split: str = "test") -> Predictions:
        """Labels and predicted probabilities of a split; those of test are in the run folder."""
        path = self.folder / run_folder.predictions_file(split)
        record = self.record.data
        if path.is_file():
            from misread.data.npz import read_npz

            arrays = read_npz(path)
            files = tuple(map(str, arrays["files"])) if "files" in arrays else None
            return Predictions(
                arrays["labels"], arrays["probs"], record.class_names, arrays["index"], files, split,
                name=self._name(record.name), images=lambda: self.split(split).images,
            )  # fmt: skip
        return self._predict_split(self.split(split), split, record.name)

    def validation_for(self, split: str = "test") -> Predictions | None:
        """Predictions on validation images, for methods that are fitted before they are measured on `split`.

        None where there are none to be had honestly: the recipe shows the test split as validation, or `split` is not
        test. The methods then fit on one half of the split and measure on the other.
        """
        if split != "test" or self.recipe.validation.name == "show-test":
            return None
        return self.predictions("val")

    def confusion(self, split: str = "test") -> Confusion:
        """Which class was read as which: the matrix, the most confused pairs, and the images behind each cell."""
        return self.predictions(split).confusion()

    def per_class(self, split: str = "test") -> PerClass:
        """Support, recall, precision (with 95% Wilson intervals) and F1 of each class."""
        return self.predictions(split).per_class()

    def calibration(self, split: str = "test") -> Calibration:
        """Whether the confidence can be believed, and temperature scaling fitted on `validation_for`."""
        return self.predictions(split).calibration(self.validation_for(split))

    def coverage(self, split: str = "test") -> Coverage:
        """The error that remains when the least certain images are left to a person."""
        return self.predictions(split).coverage()

    def conformal(self, error_level: float = 0.01, split: str = "test") -> ConformalSets:
        """Sets of classes that hold all but a share `error_level` of labels, fitted on `validation_for`."""
        return self.predictions(split).conformal(error_level, self.validation_for(split))

    def evaluate(
        self, data: ImageSet | str | Path | None = None, split: str = "test", labels: str | Path | None = None
    ) -> dict[str, Any]:
        """Metrics on a split of the run's data, or of other data with the same classes.

        Returns the keys of `run.json`'s metrics, and `data`: its name, fingerprint, and whether it is the run's own.
        labels: a label patch; the metrics are on the labels as loaded all the same, and `fixed` has them on the fixed
        labels, `label_patch` what was fixed.
        A set whose test split was carved by misread is evaluated whole, unless it is the run's own: its
        images may have trained the run, and then only the carved test split counts.
        Raises DataError: other classes, images of another shape, or a patch that cannot be used.
        """
        predictions, scored = self.predict_on(data, split)
        fixed = {} if labels is None else self.fixed_scores(predictions, scored, labels)
        return {**self.scores(predictions, scored), **fixed}

    def scores(self, predictions: Predictions, data: ImageSet) -> dict[str, Any]:
        """What `evaluate` returns, of what `predict_on` returned."""
        same = data.fingerprint == self.record.data.fingerprint
        about = {"name": data.name, "fingerprint": data.fingerprint, "same": same}
        return {"split": predictions.split, **predictions.metrics(self.recipe.top_k), "data": about}

    def fixed_scores(self, predictions: Predictions, data: ImageSet, labels: str | Path) -> dict[str, Any]:
        """What a label patch adds to `scores`: the metrics on the fixed labels, and what was fixed."""
        fixed = read_patch(labels).fix(data)
        same = data.fingerprint == self.record.data.fingerprint
        split = (self._split_of if same else ImageSet.split)(fixed.data, predictions.split)
        return {
            "fixed": predictions.with_labels(split.labels).metrics(self.recipe.top_k),
            "label_patch": label_patch_record(fixed).model_dump(),
        }

    def predict_on(
        self, data: ImageSet | str | Path | None = None, split: str = "test"
    ) -> tuple[Predictions, ImageSet]:
        """Predictions by the network as it is now, on the split that `evaluate` scores, and the data it is of."""
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

    @cached_property
    def misreads(self) -> Misreads:
        """The misread test images, the most confident mistake first."""
        return self.misreads_of("test")

    def misreads_of(self, split: str) -> Misreads:
        """The misread images of a split."""
        predictions = self.predictions(split)
        table = predictions.misreads()
        table["hash"] = self._misread_hashes(split, table["index"].to_numpy())

        def images_of(rows: np.ndarray) -> np.ndarray:
            images = self.split(split)
            return images.images[np.searchsorted(images.rows, rows)]

        what = f"{self.record.data.name} {split}"
        explain_of = partial(explain, self, split)
        return Misreads(table, len(table), len(predictions), what, images_of, explain_of)

    def _misread_hashes(self, split: str, rows: np.ndarray) -> list[str]:
        """The hash of each misread image, from the run folder where it is there, so that the data need not be."""
        path = self.folder / run_folder.misreads_file(split)
        if path.is_file():
            kept = pd.read_csv(path)
            if "hash" in kept and kept["index"].tolist() == rows.tolist():
                return kept["hash"].tolist()
        images = self.split(split)
        return image_hashes(images.images[np.searchsorted(images.rows, rows)])

    def label_issues(self, split: str = "test", method: str = "self-confidence") -> LabelIssues:
        """The images of a split as a DataFrame, the most doubtful label first; by `analysis.label_issues.METHODS`.

        Raises RunError: the run trained on this split, so that its probabilities say nothing of the labels there.
        """
        if split not in ("test", "val"):
            raise RunError(
                f"The run in {self.folder} trained on its {split} images, and repeats their labels, wrong ones too.\n"
                "`misread labels DATA` (misread.cross_validate in Python) asks networks that did not see them."
            )
        return self.predictions(split).label_issues(method)

    def save_figures(self) -> Path:
        """Draw everything into the run folder's `figures`, each as PNG and as SVG; returns that folder.

        Raises RunError: the data is not to be had, or the folder cannot be written.
        """
        pictures = {
            "history": self.history.plot(),
            "misreads": self.misreads.sample(GRID, seed=0).figure(),
            **self.predictions().figures(self.validation_for("test")),
        }
        folder = self.folder / run_folder.FIGURES
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
        progress: Callable[[str], None] | None = None,
    ) -> Path:
        """Write the whole analysis as one HTML file, by default `report.html` in the run folder; returns its path.

        The rest is as `misread.report.content.run_page` takes it. Raises RunError or DataError as that does, and
        RunError where the file cannot be written.
        """
        from misread.report.content import run_page, silent

        page = run_page(self, compare=compare, others=others, causes=causes, progress=progress or silent)
        return page.write(Path(path) if path else self.folder / run_folder.REPORT)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """probs (N, K) float32 of images (N, H, W) or (N, H, W, C) uint8 in the training shape."""
        images = images[..., None] if images.ndim == 3 else images
        if images.dtype != np.uint8 or images.shape[1:] != self.record.data.image_shape:
            raise DataError(
                f"Images are {images.dtype} {images.shape}; needed is uint8 (N, H, W, C) with (H, W, C) = "
                f"{self.record.data.image_shape}. For files of any size use predict_file."
            )
        return self.predictor.probs(images)

    def predict_file(self, path: str | Path) -> list[tuple[str, float]]:
        """Every class with its probability, most probable first, for a photograph or drawing of any size.

        The picture is first laid the way the training images are. Raises DataError: it cannot be read.
        """
        geometry = Geometry(**self.record.data.geometry)
        probs = self.predict(fit_picture(read_picture(Path(path)), geometry)[None])[0]
        return [(self.record.data.class_names[k], float(probs[k])) for k in np.argsort(-probs, kind="stable")]

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError:
            raise RunError(f"The run in {self.folder} is incomplete: {name} is missing. Train again.") from None


def open_run(
    folder: str | Path, *, data: ImageSet | None = None, network: nn.Module | None = None, device: str = "auto"
) -> Run:
    """Open a run folder.

    data:    the image set, where the run was trained on arrays in memory.
    network: an untrained module of the same class, where the run's network is no recipe's; it gets the weights.
    Raises RunError: not a run folder, incomplete, damaged, or from a newer misread.
    """
    folder = Path(folder)
    record = run_folder.read_record(folder)
    if data is not None and data.fingerprint != record.data.fingerprint:
        raise RunError(
            f"The data given is not what the run in {folder} was trained on: its fingerprint is "
            f"{data.fingerprint[:12]}, not {record.data.fingerprint[:12]}. To score other data use run.evaluate(data)."
        )
    return Run(folder, record, data=data, network=network, device=device)


def read_runs(folders: Sequence[Path]) -> list[tuple[Path, RunRecord | RunError]]:
    """The record of each run folder, or why it cannot be read."""
    read: list[tuple[Path, RunRecord | RunError]] = []
    for folder in folders:
        try:
            read.append((folder, run_folder.read_record(folder)))
        except RunError as error:
            read.append((folder, error))
    return read
