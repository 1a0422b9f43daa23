"""A run as its folder holds it: recipe, history, data, network. `Run` adds the analysis."""

import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from misread.data.geometry import Geometry, fit_picture
from misread.data.image_set import SPLITS, ImageSet, Split
from misread.data.load import EMBEDDED, load
from misread.data.named import NAMED
from misread.data.npz import read_npz
from misread.data.picture import read_picture
from misread.errors import DataError, RecipeError, RunError
from misread.models.summary import Summary, summarise
from misread.runs import run_folder
from misread.runs.download import is_download
from misread.runs.record import RunRecord
from misread.training.device import pick_device
from misread.training.networks import predictor_network, recipe_backbone, recipe_network
from misread.training.predict import Predictor
from misread.training.recipe import Recipe, parse_recipe
from misread.web.model_file import Precision, model_bytes

if TYPE_CHECKING:
    from misread.runs.history import History


class StoredRun:
    """One training, and what it left in its folder.

    Large parts are read on first use: the network and the data.
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
        contents = self._read(run_folder.RECIPE)
        try:
            values = tomllib.loads(contents.decode())
        except ValueError as error:  # no UTF-8, or no TOML
            raise RunError(f"{self.folder / run_folder.RECIPE} is damaged: {error}.") from None
        return parse_recipe(values, str(self.folder / run_folder.RECIPE))

    @cached_property
    def history(self) -> "History":
        """One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, seconds.

        Raises RunError: its file is missing or damaged.
        """
        from misread.runs.history import History, read_history  # pandas, which predicting does not need

        rows = read_history(self._read(run_folder.HISTORY), self.folder / run_folder.HISTORY)
        title = f"{self.record.recipe} on {self.record.data.name}"
        shown = "the test split" if self.recipe.validation.name == "show-test" else "validation split"
        return History.of(rows, title, shown)

    @cached_property
    def downloaded(self) -> bool:
        """Whether the run is from the Hub. It is then read-only, and paths that it names are not followed."""
        return is_download(self.folder)

    def place_for(self, name: str) -> Path:
        """The path of a file or folder that is written into the run folder. Raises RunError: the run is read-only."""
        if self.downloaded:
            raise RunError(f"The run in {self.folder} was downloaded and is read-only. Give another place for {name}.")
        return self.folder / name

    @property
    def data(self) -> ImageSet:
        """The data that the run was trained on, loaded again if another process trained it.

        Raises DataError: it is no longer there. Raises RunError: other data is in its place.
        """
        if self._data is None:
            record = self.record.data
            if not record.source and not self.downloaded:
                raise RunError(
                    f"The run in {self.folder} was trained on arrays in memory; open it with their image set: "
                    "open_run(folder, data=...)."
                )
            if self.downloaded and record.source not in (*NAMED, EMBEDDED):
                raise RunError(
                    f"The run in {self.folder} was downloaded, and its data {record.name} is not one that misread can "
                    "load by name. Open the run with its image set: open_run(address, data=...)."
                )
            data = load(record.source, size=record.size)
            if data.fingerprint != record.fingerprint:
                raise RunError(
                    f"{record.source} is no longer the data that the run in {self.folder} was trained on: "
                    f"its fingerprint is {data.fingerprint[:12]}, not {record.fingerprint[:12]}."
                )
            self._data = data
        return self._data

    @property
    def loaded_data(self) -> ImageSet | None:
        """The data, if it was given or has been loaded."""
        return self._data

    @cached_property
    def network(self) -> nn.Module:
        """The trained network, on the run's device, in evaluation mode.

        Raises RunError: the weights are missing, damaged or of another network; or the network is a module from Python
        and was not given.
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
            network = self._recipe_network()
        try:
            weights = load_weights(self._read(run_folder.WEIGHTS))
            network.load_state_dict(weights)
        except SafetensorError as error:
            raise RunError(f"{self.folder / run_folder.WEIGHTS} is damaged: {error}.") from None
        except RuntimeError as error:
            problems = "\n  ".join(line.strip() for line in str(error).splitlines()[1:])
            raise RunError(f"{self.folder / run_folder.WEIGHTS} does not fit the network:\n  {problems}") from None
        return predictor_network(network, self.recipe).to(self.device).eval()

    def _recipe_network(self) -> nn.Module:
        data = self.record.data
        try:
            if self.downloaded:
                self._check_downloaded()
            backbone = recipe_backbone(self.recipe, trained=True)
            return recipe_network(self.recipe, data.image_shape, len(data.class_names), backbone=backbone)
        except RecipeError as error:
            raise RunError(
                f"The network of the run in {self.folder} cannot be built: {error}\n"
                f"If a file of weights has moved, change backbone.name in {self.folder / run_folder.RECIPE}."
            ) from None

    def _check_downloaded(self) -> None:
        """Raises RunError: the recipe names a file, or has a network larger than the weights (and the memory)."""
        recipe, data = self.recipe, self.record.data
        if recipe.backbone:
            if recipe.backbone.is_file:
                raise RunError(
                    f"The run in {self.folder} was downloaded. Its backbone is a file, {recipe.backbone.name}, which "
                    "misread does not open for it."
                )
            return
        try:
            with torch.device("meta"):  # shapes without memory
                one = recipe_network(recipe.model_copy(update={"members": 1}), data.image_shape, len(data.class_names))
        except (RuntimeError, OverflowError, TypeError) as error:  # numbers that no tensor can have
            raise RecipeError(f"{error}") from None
        needed = recipe.members * sum(t.numel() * t.element_size() for t in one.state_dict().values())
        given = (self.folder / run_folder.WEIGHTS).stat().st_size
        if needed > given:
            raise RunError(
                f"{self.folder / run_folder.WEIGHTS} does not fit the network: it has {given:,} bytes, but the network "
                f"of the recipe needs {needed:,}."
            )

    @cached_property
    def predictor(self) -> Predictor:
        """The network ready to predict, with the weights that it has when this is first used."""
        return Predictor(self.network, self.record.data.image_shape, self.device)

    @cached_property
    def summary(self) -> Summary:
        """The network's layers, output shapes and parameters."""
        return summarise(self.network, self.record.data.image_shape)

    def split(self, name: str) -> Split:
        """The images of a split as the run used it, also of a validation split that it carved from train."""
        return self._split_of(self.data, name)

    def _split_of(self, data: ImageSet, name: str) -> Split:
        """As `split`, of `data`: the run's own images, perhaps with other labels."""
        path = self.folder / run_folder.SPLITS
        carved = read_npz(path) if path.is_file() else {}
        if name in ("train", "val") and f"{name}_rows" in carved:
            train = data.train
            return train.take(np.searchsorted(train.rows, carved[f"{name}_rows"]))
        shown = self.recipe.validation.name == "show-test"
        if name == "val" and shown:
            return data.test
        own = {*data.splits, *(["val"] if shown or "val_rows" in carved else [])}
        if name not in own and name != "all":
            has = ", ".join(split for split in SPLITS if split in own)
            raise DataError(f"{data.name} has no split {name!r}; the run in {self.folder} has {has}.")
        return data.split(name)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """(N, K) float32 probabilities of images (N, H, W) or (N, H, W, C) uint8 in the training shape.

        Raises DataError: another dtype or shape.
        """
        return self.predictor.probs(self.record.data.checked(images))

    def model_file(self, precision: Precision = "float32", images: np.ndarray | None = None) -> bytes:
        """The network as a file for the forward pass in a page; see `model_bytes`, also for what it raises."""
        record = self.record.data
        return model_bytes(
            self.network, self.recipe.layers, record.class_names, record.image_shape,
            geometry=record.geometry, precision=precision, images=images,
        )  # fmt: skip

    def predict_file(self, path: str | Path) -> list[tuple[str, float]]:
        """Every class with its probability, the most probable first, for a photograph or drawing of any size.

        The picture is first scaled and placed like the training images. Raises DataError: it cannot be read.
        """
        geometry = Geometry(**self.record.data.geometry)
        probs = self.predict(fit_picture(read_picture(Path(path)), geometry)[None])[0]
        return [(self.record.data.class_names[k], float(probs[k])) for k in np.argsort(-probs, kind="stable")]

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError:
            raise RunError(f"The run in {self.folder} is incomplete: {name} is missing. Train again.") from None
