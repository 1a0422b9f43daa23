"""A Keras model opened without Keras: it predicts, and everything that misread knows about predictions can be asked."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from misread.data.image_set import ImageSet
from misread.data.label_patch import read_patch
from misread.data.load import load
from misread.data.mapped_images import Images
from misread.errors import DataError, RunError
from misread.lab.keras_archive import open_archive, require_h5py
from misread.lab.keras_graph import read_graph
from misread.lab.keras_network import KerasNetwork, build_keras_network
from misread.lab.keras_scaling import Scaling, ScalingTrial, check_scaling, make_scaling, try_scalings
from misread.runs.misreads import Misreads
from misread.runs.predictions import Predictions
from misread.runs.record import label_patch_record

BLOCK_PIXELS = 2**18  # of images predicted at once
POOR = 2.0  # times the accuracy of guessing, below which no scaling fits


class KerasModel:
    """A model from a `.keras` or `.h5` file. `open_keras` makes it.

    path: of the file. network: the model as a torch module. keras_version: as the file says.
    class_names: K names; those of the data if neither the file nor the user has any.
    scaling: a name of `keras_scaling.WAYS`; None until data has been tried. trial: what the trial gave.
    """

    def __init__(
        self,
        path: Path,
        network: KerasNetwork,
        keras_version: str,
        class_names: Sequence[str] | None,
        scaling: str | None,
    ) -> None:
        self.path, self.network, self.keras_version = path, network, keras_version
        self.class_names = None if class_names is None else tuple(class_names)
        self.scaling = scaling
        self._scaling_of: dict[str, Scaling] = {}  # by the data's fingerprint
        self.trial: ScalingTrial | None = None

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(H, W, C), (H, W) or (n,)."""
        return self.network.input_shape

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_shape))
        scaling = self.scaling or "not tried yet"
        return f"KerasModel({self.path}: {shape} to {self.network.n_classes} classes, scaling {scaling})"

    def notes(self) -> list[str]:
        """What to know before reading scores: the scaling and how it was found, a line each."""
        if self.trial is None:
            return [f"Scaling: {self.scaling}, as given." if self.scaling else "Scaling: not tried yet."]
        inside = " The file has a Rescaling layer." if self.network.rescales else ""
        lines = [f"Found by trial: {self.trial.text()}.{inside}"]
        if self.trial.rows[0]["accuracy"] < POOR / self.network.n_classes:
            lines.append(
                "Warning: no scaling reads these images. The model may be of other images, or have its classes in "
                "another order, or another preprocessing."
            )
        return lines

    def load(self, data: ImageSet | str | Path) -> ImageSet:
        """The data, pictures of a folder in the model's size. Raises DataError: they do not fit the model."""
        size = (self.input_shape[0], self.input_shape[1]) if len(self.input_shape) > 1 else None
        given = data if isinstance(data, ImageSet) else load(data, size=size)
        height, width, channels = given.image_shape
        fitting = [(height, width, channels), (height * width * channels,)] + (
            [(height, width)] if channels == 1 else []
        )
        if self.input_shape not in fitting:
            raise DataError(
                f"{given.name} has images of {given.image_shape} (H, W, C); {self.path} takes {self.input_shape}."
            )
        if given.n_classes != self.network.n_classes:
            raise DataError(
                f"{given.name} has {given.n_classes} classes; {self.path} predicts {self.network.n_classes}."
            )
        if self.class_names and given.class_names != self.class_names:
            raise DataError(
                f"{given.name} has the classes {', '.join(given.class_names)}; "
                f"{self.path} has {', '.join(self.class_names)}."
            )
        return given

    def try_scalings(self, data: ImageSet | str | Path) -> ScalingTrial:
        """Try all scalings on validation or training images; later predictions use the best. See `ScalingTrial`."""
        self.trial = try_scalings(self._probs, self.load(data))
        self.scaling = self.trial.chosen
        self._scaling_of.clear()
        return self.trial

    def probs(self, images: Images, data: ImageSet) -> np.ndarray:
        """(N, H, W, C) uint8 -> (N, K) float32, rows sum to 1. data: to try scalings on, if none is known."""
        if self.scaling is None:
            self.try_scalings(data)
        if data.fingerprint not in self._scaling_of:
            self._scaling_of = {data.fingerprint: make_scaling(str(self.scaling), data)}
        return self._probs(images, self._scaling_of[data.fingerprint])

    def _probs(self, images: Images, scaling: Scaling) -> np.ndarray:
        return self.network.probs(_blocks(images, scaling))

    def predict(self, data: ImageSet | str | Path, split: str = "test") -> Predictions:
        """Predictions on a split: misreads, confusion, calibration, report, comparison.

        Raises DataError: images or classes that do not fit the model, or no such split.
        """
        return self.predict_on(data, split)[0]

    def predict_on(self, data: ImageSet | str | Path, split: str = "test") -> tuple[Predictions, ImageSet]:
        """The same, and the data."""
        given = self.load(data)
        part = given.split(split)
        found = Predictions(
            part.labels, self.probs(part.images, given), given.class_names, part.rows, part.files, split,
            name=f"{self.name} on {given.name}", images=lambda: part.images,
        )  # fmt: skip
        return found, given

    def misreads(self, data: ImageSet | str | Path, split: str = "test") -> Misreads:
        """The misread images, the most confident mistake first."""
        return self.predict(data, split).misreads

    def evaluate(
        self, data: ImageSet | str | Path, split: str = "test", label_patch: str | Path | None = None
    ) -> dict[str, Any]:
        """Metrics on a split, with the keys of `Run.evaluate`, and `scaling`: its name, and the trial if any."""
        predictions, used = self.predict_on(data, split)
        return {
            **self.scores(predictions, used),
            **({} if label_patch is None else self.fixed_scores(predictions, used, label_patch)),
        }

    def scores(self, predictions: Predictions, data: ImageSet) -> dict[str, Any]:
        """What `evaluate` returns, for what `predict_on` returned."""
        scaling = self.trial.to_dict() if self.trial else {"chosen": self.scaling}
        data_facts = {"name": data.name, "fingerprint": data.fingerprint}
        return {"split": predictions.split, **predictions.metrics(), "data": data_facts, "scaling": scaling}

    def fixed_scores(self, predictions: Predictions, data: ImageSet, label_patch: str | Path) -> dict[str, Any]:
        """What a label patch adds to `scores`: the metrics on the fixed labels, and a record of the fixes."""
        fixed = read_patch(label_patch).fix(data)
        labels = fixed.data.split(predictions.split).labels
        return {
            "fixed": predictions.with_labels(labels).metrics(),
            "label_patch": label_patch_record(fixed).model_dump(),
        }

    def calibration_set(self, data: ImageSet, split: str = "test") -> Predictions | None:
        """Predictions on validation images, for methods that are fitted before they are measured on `split`.

        None if the data have none, or `split` is not test.
        """
        return self.predict(data, "val") if split == "test" and data.val is not None else None

    def report(
        self, data: ImageSet | str | Path, path: str | Path, split: str = "test", *, language: str = "en"
    ) -> Path:
        """Write the whole analysis as one HTML file; returns its path. See `Predictions.report`."""
        return self.predict(data, split).report(path, language=language)


def open_keras(path: str | Path, *, scaling: str | None = None, class_names: Sequence[str] | None = None) -> KerasModel:
    """Open a model by `model.save` of Keras 3 (`.keras`, `.h5`) or Keras 2 (`.h5`), without Keras. It runs no code.

    scaling:     how pixels become the model's input: a name of `keras_scaling.WAYS`; by default the one that fits
                 labelled training images best, tried at the first prediction. A file by misread has its own.
    class_names: K names in the model's order; by default those of the data, in its order.
    Raises RunError: h5py is missing; no such file; a layer, argument or object that cannot be opened; weights that are
    missing or of another shape; or contents that no saved model needs. The message names what was found.
    """
    path = Path(path)
    require_h5py()
    if scaling is not None:
        check_scaling(scaling)
    if not path.exists():
        raise RunError(f"There is no file {path}. Save a Keras model there: model.save('{path.stem}.keras')")
    try:
        with open_archive(path) as archive:
            network = build_keras_network(read_graph(archive.config), archive.read)
    except RunError as error:
        raise RunError(f"{path} cannot be opened: {error}.") from None
    if archive.facts:  # written by misread, for pixels as they are
        scaling = scaling or "raw"
        class_names = class_names or _class_names(archive.facts, path)
    if class_names is not None and len(class_names) != network.n_classes:
        raise RunError(f"{len(class_names)} class names were given, but {path} predicts {network.n_classes} classes.")
    return KerasModel(path, network, archive.version, class_names, scaling)


def _class_names(facts: dict[str, str], path: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads(facts["class_names"])]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} cannot be opened: in what misread wrote, {error} is missing or wrong.") from None


def _blocks(images: Images, scaling: Scaling) -> Iterator[np.ndarray]:
    size = max(1, BLOCK_PIXELS // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), size):
        yield scaling(np.asarray(images[start : start + size]))
