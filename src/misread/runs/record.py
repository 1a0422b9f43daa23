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
    """What computed the training. `name` is `kernels` or `torch`; `note` says why it was not the faster one."""

    name: str
    precision: str
    note: str


class Timing(_Part):
    """Seconds. `fit_seconds`: from arrays in memory to final weights, validation passes excluded."""

    load_seconds: float
    fit_seconds: float
    validate_seconds: float
    evaluate_seconds: float
    total_seconds: float


class RunRecord(_Part):
    """The whole of `run.json`.

    status: `complete`, or `interrupted` where the training was ended by hand. `best_epoch` is the epoch whose weights
    were kept by early stopping, else None. `target_reached`: whether the last epoch reached the recipe's target
    accuracy; None where it has none. `metrics.test` is on the labels as they were loaded; with a label patch
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
    data: DataRecord
    model: ModelRecord
    environment: Environment
    engine: EngineRecord = EngineRecord(name="torch", precision="float32", note="")
    timing: Timing
    label_patch: LabelPatchRecord | None = None
    metrics: dict[str, dict[str, float | int]]


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
