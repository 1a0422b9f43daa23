"""A trained network as a function that can be pickled and sent to other processes and machines."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from misread.data.geometry import Geometry
from misread.errors import RunError
from misread.files import temporary_folder
from misread.runs.run_folder import RECIPE, RECORD, WEIGHTS, read_record
from misread.runs.stored_run import StoredRun
from misread.version import __version__


class Predictor:
    """`predictor(images)` gives what `Run.predict` gives. Pickled, it takes the run's files along: it needs no folder.

    It uses one thread of the processor, or one GPU, because many of them work side by side. It is loaded on first use.

    run:    a run folder. device: as in `open_run`.
    Raises RunError: it is none, or is incomplete.
    """

    def __init__(self, run: str | Path, device: str = "cpu") -> None:
        self.device = device
        self._files = {}
        for name in (RECORD, RECIPE, WEIGHTS):
            try:
                self._files[name] = (Path(run) / name).read_bytes()
            except OSError as error:
                raise RunError(
                    f"{Path(run) / name} cannot be read: {error.strerror}. RUN must be a run folder."
                ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"device": self.device, "_files": self._files}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W) or (N, H, W, C) uint8 in the training shape -> (N, K) float32, rows sum to 1.

        Raises DataError: another dtype or shape. RunError: the files are damaged.
        """
        import torch

        torch.set_num_threads(1)
        with torch.inference_mode():
            return self._run.predict(images)

    @cached_property
    def _run(self) -> StoredRun:
        import torch

        torch.set_num_threads(1)  # the kernels take as many as there are when they are made
        with temporary_folder() as folder:
            for name, contents in self._files.items():
                (folder / name).write_bytes(contents)
            run = StoredRun(folder, read_record(folder), device=self.device)
            run.predictor, run.recipe  # noqa: B018  they are read from the folder now
        return run

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._run.record.data.class_names

    @property
    def geometry(self) -> Geometry:
        return Geometry(**self._run.record.data.geometry)

    def digest(self) -> str:
        """SHA-256 over the run's files: equal if the predictor is."""
        listed = {name: hashlib.sha256(contents).hexdigest() for name, contents in sorted(self._files.items())}
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """What decides the bits of a prediction: the network, the backend with its build and precision, versions."""
        import torch
        from PIL import __version__ as pillow

        data, used, device = self._run.record.data, self._run.predictor.capabilities, self._run.device
        return {
            "weights_sha256": hashlib.sha256(self._files[WEIGHTS]).hexdigest(),
            "recipe_sha256": hashlib.sha256(self._files[RECIPE]).hexdigest(),
            "class_names": list(data.class_names),
            "image_shape": list(data.image_shape),
            "geometry": data.geometry,
            "backend": {
                "name": used.name,
                "build": used.build,
                "precision": used.precision,
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
                "torch_build": torch.backends.cpu.get_cpu_capability(),  # PyTorch computes the softmax
            },
            "versions": {"misread": __version__, "torch": torch.__version__, "numpy": np.__version__, "pillow": pillow},
        }
