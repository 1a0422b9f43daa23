"""A trained network as a function that can be pickled and sent to other processes and machines."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misread.data.geometry import Geometry
from misread.errors import RunError
from misread.files import temporary_folder
from misread.runs.array_run import ArrayRun, array_run
from misread.runs.run_folder import RECIPE, RECORD, WEIGHTS, parse_record
from misread.version import __version__

if TYPE_CHECKING:
    from misread.runs.stored_run import StoredRun


class Predictor:
    """`predictor(images)` gives what `Run.predict` gives, up to the rounding of the softmax.

    Pickled, it takes the run's files along: it needs no folder.
    It uses one thread of the processor, or one GPU, because many of them work side by side. The network is loaded on
    first use, and PyTorch with it if the kernels alone cannot do it.

    run:    a run folder. device: as in `open_run`.
    Raises RunError: it is none, is incomplete, or its `run.json` is damaged.
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
        self._record = parse_record(self._files[RECORD], Path(run) / RECORD)

    def __getstate__(self) -> dict[str, Any]:
        return {"device": self.device, "_files": self._files, "_record": self._record}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W) or (N, H, W, C) uint8 in the training shape -> (N, K) float32, rows sum to 1.

        Raises DataError: another dtype or shape. RunError: the files are damaged.
        """
        if self._by_kernels:
            return self._by_kernels.predict(images)
        import torch

        torch.set_num_threads(1)
        with torch.inference_mode():
            return self._run.predict(images)

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules that the first prediction imports, and that take long."""
        return () if self._by_kernels else ("misread.runs.stored_run", "safetensors.torch")

    @cached_property
    def _by_kernels(self) -> ArrayRun | None:
        return array_run(self._record, self._files[RECIPE], self._files[WEIGHTS], self.device, threads=1)

    @cached_property
    def _run(self) -> "StoredRun":
        import torch

        from misread.runs.stored_run import StoredRun

        torch.set_num_threads(1)  # the kernels take as many as there are when they are made
        with temporary_folder() as folder:
            for name, contents in self._files.items():
                (folder / name).write_bytes(contents)
            run = StoredRun(folder, self._record, device=self.device)
            run.predictor, run.recipe  # noqa: B018  they are read from the folder now
        return run

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._record.data.class_names

    @property
    def geometry(self) -> Geometry:
        return Geometry(**self._record.data.geometry)

    def digest(self) -> str:
        """SHA-256 over the run's files: equal if the predictor is."""
        listed = {name: hashlib.sha256(contents).hexdigest() for name, contents in sorted(self._files.items())}
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """What decides the bits of a prediction: the network, the backend with its build and precision, versions."""
        from PIL import __version__ as pillow

        data = self._record.data
        versions = {"misread": __version__, "numpy": np.__version__, "pillow": pillow}
        if self._by_kernels:
            build = self._by_kernels.network.build
            backend = {"name": "kernels", "build": build, "precision": "float32", "device": "cpu"}
        else:
            backend, versions["torch"] = self._torch_facts()
        return {
            "weights_sha256": hashlib.sha256(self._files[WEIGHTS]).hexdigest(),
            "recipe_sha256": hashlib.sha256(self._files[RECIPE]).hexdigest(),
            "class_names": list(data.class_names),
            "image_shape": list(data.image_shape),
            "geometry": data.geometry,
            "backend": backend,
            "versions": versions,
        }

    def _torch_facts(self) -> tuple[dict[str, str], str]:
        """The backend where PyTorch is imported, and its version."""
        import torch

        used, device = self._run.predictor.capabilities, self._run.device
        backend = {
            "name": used.name,
            "build": used.build,
            "precision": used.precision,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "torch_build": torch.backends.cpu.get_cpu_capability(),  # PyTorch computes the softmax
        }
        return backend, str(torch.__version__)  # of a class of its own, whose unpickling imports torch
