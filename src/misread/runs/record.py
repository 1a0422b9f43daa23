"""What `run.json` holds: its keys are a contract with whoever reads it."""

import os
import platform
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from misread.data.label_patch import FixedLabels
from misread.version import __version__

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class DataRecord(_Part):
    """The data of a run. `source` is what `misread.load` takes to load it again; empty for arrays in memory.

    validation: where the validation images came from, in words. geometry: how objects lie in the training images.
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


class ModelRecord(_Part):
    """Size of the model. `network` is `recipe`, or the class of a module that was given in Python."""

    network: str
    parameters: int
    trainable: int
    bytes: int


class LabelPatchRecord(_Part):
    """The label patch that a run trained with; the run folder has a copy of it.

    file: as it was given. sha256: of its contents. fixes: how many it has in force; found: how many of these are for
    images of the data. changed: how many labels of each split it changed, copies of an image counted each. notes:
    this in words, and what else there was to say of the patch.
    """

    file: str
    sha256: str
    fixes: int
    found: int
    changed: dict[str, int]
    notes: tuple[str, ...]


class Environment(_Part):
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


class EngineRecord(_Part):
    """What computed the training. `name` is `kernels` or `torch`; `note` says why it was not the faster one.

    build: of the kernels the instruction set, of torch the version. Another build rounds otherwise.
    """

    name: str
    precision: str
    note: str
    build: str = ""


class Interruption(_Part):
    """A position at which a training was interrupted and resumed: the next step was step `step` of epoch `epoch`, both
    counted from 0 within the member.

    exact: the result is the same as without the interruption. Otherwise `reason` says why it may not be.
    """

    member: int
    epoch: int
    step: int
    exact: bool
    reason: str = ""


class Timing(_Part):
    """Seconds. `fit_seconds`: from arrays in memory to final weights, validation passes excluded."""

    load_seconds: float
    fit_seconds: float
    validate_seconds: float
    evaluate_seconds: float
    total_seconds: float


class RunRecord(_Part):
    """The whole of `run.json`.

    status: `complete`, or `interrupted` where the training was ended by hand. `stopped`: why it ended before its last
    epoch; empty where it did not. `interruptions`: where it was interrupted and resumed. `best_epoch` is the epoch
    whose weights were kept by early stopping, else None. `target_reached`: whether the last epoch reached the recipe's
    target accuracy; None where it has none. `metrics.test` is on the labels as they were loaded; with a label patch
    `metrics.test_fixed` is on the fixed ones.
    """

    format: int = FORMAT
    status: Literal["complete", "interrupted"]
    created: str
    seed: int
    recipe: str
    epochs_trained: int
    best_epoch: int | None
    target_reached: bool | None = None
    stopped: str = ""
    interruptions: tuple[Interruption, ...] = ()
    data: DataRecord
    model: ModelRecord
    environment: Environment
    engine: EngineRecord = EngineRecord(name="torch", precision="float32", note="")
    timing: Timing
    label_patch: LabelPatchRecord | None = None
    metrics: dict[str, dict[str, float | int]]


class StartRecord(_Part):
    """What a training began with, beside its recipe: a resumed training must find the same.

    label_patch: the SHA-256 of the patch's contents; empty without one. network: as in `ModelRecord`.
    """

    format: int = FORMAT
    created: str
    name: str
    source: str
    size: tuple[int, int] | None
    fingerprint: str
    recipe: str
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


def this_environment(threads: int, device: str) -> Environment:
    """The machine and the versions that a number was measured with."""
    import numpy
    import torch

    return Environment(
        misread=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        numpy=numpy.__version__,
        system=platform.platform(),
        machine=platform.machine(),
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        threads=threads,
        device=device,
    )


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
