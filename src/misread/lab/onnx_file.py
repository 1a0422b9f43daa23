"""An ONNX file by `misread export`, opened for predicting."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from misread.data.geometry import Geometry
from misread.errors import RunError, needing


def require_onnx() -> None:
    """Raises RunError: a package of the extra is missing."""
    with needing("onnx", "ONNX"):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401


@dataclass(frozen=True)
class OnnxFile:
    """What the file says about itself, and a session of ONNX Runtime.

    facts: all metadata; see `misread.lab.facts`.
    """

    path: Path
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    geometry: Geometry
    facts: dict[str, str]
    session: Any

    def probs(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 -> (N, K) float32, rows sum to 1."""
        found: np.ndarray = self.session.run(None, {self.session.get_inputs()[0].name: images})[0]
        return found


def open_onnx(path: str | Path, threads: int | None = None) -> OnnxFile:
    """Open a file.

    threads: of ONNX Runtime; by default its own choice, the number of cores.
    Raises RunError: ONNX Runtime is missing, the file is missing or damaged, was not written by misread, or its
    metadata do not fit its network.
    """
    require_onnx()
    path = Path(path)
    if not path.is_file():
        raise RunError(f"There is no file {path}. To write one: misread export RUN --to onnx")
    session = _session(path, threads)
    facts = dict(session.get_modelmeta().custom_metadata_map)
    try:
        class_names = tuple(str(name) for name in json.loads(facts["class_names"]))
        height, width, channels = (int(n) for n in json.loads(facts["image_shape"]))
        geometry = Geometry(**json.loads(facts["geometry"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} was not written by misread: in its metadata {error} is missing or wrong. "
            "Export the run again: misread export RUN --to onnx"
        ) from None
    image_shape = (height, width, channels)
    _check_signature(path, session, image_shape, len(class_names), geometry)
    return OnnxFile(path, class_names, image_shape, geometry, facts, session)


def _session(path: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(f"{path} is damaged or no ONNX file: {reason}") from None


def _check_signature(
    path: Path, session: Any, image_shape: tuple[int, int, int], n_classes: int, geometry: Geometry
) -> None:
    """Raises RunError: the network takes or gives something else than the metadata say."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    problems = []
    if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or tuple(inputs[0].shape[1:]) != image_shape:
        found = ", ".join(f"{i.type} {i.shape}" for i in inputs)
        problems.append(f"it takes {found}, but its metadata say uint8 images of {image_shape} (H, W, C)")
    if len(outputs) != 1 or tuple(outputs[0].shape[1:]) != (n_classes,):
        found = ", ".join(f"{o.type} {o.shape}" for o in outputs)
        problems.append(f"it gives {found}, but its metadata name {n_classes} classes")
    if (geometry.height, geometry.width, geometry.channels) != image_shape:
        problems.append(
            f"its geometry is for {(geometry.height, geometry.width, geometry.channels)}, not {image_shape}"
        )
    if problems:
        raise RunError(f"{path} contradicts itself: {'; '.join(problems)}. Export the run again.")
