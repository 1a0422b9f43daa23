"""The contents of `run.json`. Its keys are part of the public interface."""

import os
import platform
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from misread.data.label_patch import FixedLabels
from misread.errors import DataError
from misread.processor import cpu_name
from misread.version import __version__

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class DataRecord(_Part):
    """The data of a run. `source` is the argument of `misread.load` to load it again; empty for arrays in memory.

    validation: the source of the validation images, in words. geometry: see `Geometry`.
    """

    name: str
    source: str
    size: tuple[int, int] | None
    fingerprint: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    n_train: int
    n_val: int
    n_test: int
    validation: str
    carved_test: bool
    geometry: dict[str, Any]

    def checked(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W) or (N, H, W, C) uint8 in the training shape, as (N, H, W, C). Raises DataError: others."""
        images = images[..., None] if images.ndim == 3 else images
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
            raise DataError(
                f"Images are {images.dtype} {images.shape}; they must be uint8 (N, H, W, C) with (H, W, C) = "
                f"{self.image_shape}. For files of any size use predict_file."
            )
        return images


class ModelRecord(_Part):
    """The size of the model. `network` is `recipe`, or the class of a module from Python."""

    network: str
    parameters: int
    trainable: int
    bytes: int


class LabelPatchRecord(_Part):
    """The label patch of a run. The run folder has a copy of it.

    file: its path. sha256: of its contents. fixes: the number of active fixes. found: the number of these that are for
    images of the data. changed: the number of changed labels in each split, with copies of images. notes: messages
    about the patch.
    """

    file: str
    sha256: str
    fixes: int
    found: int
    changed: dict[str, int]
    notes: tuple[str, ...]


class Environment(_Part):
    """The machine and the versions. threads: of each rank or worker. workers: processes that trained the members."""

    misread: str
    python: str
    torch: str
    numpy: str
    system: str
    machine: str
    cpu: str
    cores: int
    threads: int
    device: str
    ranks: int = 1
    workers: int = 1


class EngineRecord(_Part):
    """The backend that computed the training. `name` is `kernels` or `torch`. `note`: why a slower one was used.

    build: the instruction set of the kernels, or the version of torch, with the kernels' build where these computed its
           convolutions. Different builds round differently.
    """

    name: str
    precision: str
    note: str
    build: str = ""


class Interruption(_Part):
    """A position at which a training was interrupted and resumed.

    epoch, step: of the next step, both counted from 0 within the member.
    exact: whether the result is the same as without the interruption. If not, `reason` says why.
    """

    member: int
    epoch: int
    step: int
    exact: bool
    reason: str = ""


class RateChangeRecord(_Part):
    """A change of the learning rate while the training ran; see `RateChange`."""

    member: int
    epoch: int
    step: int
    factor: float


class Timing(_Part):
    """Times in seconds. `fit_seconds`: from arrays in memory to final weights, without validation.

    With several workers, `fit_seconds` and `validate_seconds` are the sums over the members.
    """

    load_seconds: float
    fit_seconds: float
    validate_seconds: float
    evaluate_seconds: float
    total_seconds: float


class RunRecord(_Part):
    """The contents of `run.json`.

    recipe_choice: why misread chose the recipe; empty if the user did. status: `complete`, or `interrupted` if the user
    ended the training. stopped: why it ended before its last epoch; empty if it did not. interruptions: positions at
    which it was interrupted and resumed. rate_changes: changes of the learning rate that the user made while it ran.
    best_epoch: the epoch whose weights early stopping chose, else None.
    target_reached: whether the last epoch reached the recipe's target accuracy; None without a target. metrics.test:
    with the original labels. metrics.test_fixed: with the labels fixed by a label patch.
    """

    format: int = FORMAT
    status: Literal["complete", "interrupted"]
    created: str
    seed: int
    recipe: str
    recipe_choice: str = ""
    epochs_trained: int
    best_epoch: int | None
    target_reached: bool | None = None
    stopped: str = ""
    interruptions: tuple[Interruption, ...] = ()
    rate_changes: tuple[RateChangeRecord, ...] = ()
    data: DataRecord
    model: ModelRecord
    environment: Environment
    engine: EngineRecord = EngineRecord(name="torch", precision="float32", note="")
    timing: Timing
    label_patch: LabelPatchRecord | None = None
    metrics: dict[str, dict[str, int | float]]  # pydantic before 2.8 takes the first that fits: 78 must not become 78.0


class StartRecord(_Part):
    """The initial conditions of a training. They must be the same when it is resumed.

    label_patch: the SHA-256 of the patch's contents; empty without a patch. network: as in `ModelRecord`.
    """

    format: int = FORMAT
    created: str
    name: str
    source: str
    size: tuple[int, int] | None
    fingerprint: str
    recipe: str
    recipe_choice: str = ""
    label_patch: str
    network: str
    environment: Environment
    engine: EngineRecord


def label_patch_record(fixed: FixedLabels) -> LabelPatchRecord:
    patch = fixed.patch
    return LabelPatchRecord(
        file=patch.where,
        sha256=patch.sha256,
        fixes=len(patch.fixes),
        found=fixed.found,
        changed=fixed.changed,
        notes=tuple(fixed.messages()),
    )


def this_environment(threads: int, device: str, workers: int = 1) -> Environment:
    """The machine and the versions in use."""
    import torch

    from misread.training.ranks import current_ranks

    ranks = current_ranks()
    return Environment(
        misread=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        numpy=np.__version__,
        system=platform.platform(),
        machine=platform.machine(),
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        threads=threads,
        device=device,
        ranks=ranks.count if ranks else 1,
        workers=workers,
    )
