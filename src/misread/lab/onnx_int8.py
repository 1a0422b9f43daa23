"""The ONNX file with 8-bit weights and activations: static quantisation by ONNX Runtime."""

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import nn

from misread.files import temporary_folder
from misread.lab import to_onnx
from misread.lab.formats import ROUNDED, Format
from misread.lab.onnx_file import require_onnx
from misread.runs.run import Run

CALIBRATION_IMAGES = 500  # training images, which the ranges of the activations are measured on
BLOCK = 50
# ONNX Runtime writes the file several times, and does not say if the disk is full
ROOM, FILES = 8, 16  # times the size of the plain file; files


def _serialise(run: Run, network: nn.Module) -> bytes:
    """Weights have a scale for each output channel. Raises DataError or RunError: the data cannot be loaded, or the
    folder for temporary files cannot be written.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images = run.split("train").images
    chosen = np.linspace(0, len(images) - 1, min(len(images), CALIBRATION_IMAGES)).astype(int)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it advises what is done here
    try:
        with temporary_folder() as folder:
            plain, folded, rounded = (folder / f"{name}.onnx" for name in ("plain", "folded", "rounded"))
            contents = to_onnx.FORMAT.serialise(run, network)
            if _is_full(folder, ROOM * len(contents)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            plain.write_bytes(contents)
            quant_pre_process(plain, folded, skip_symbolic_shape=True)  # folds the normalisation into convolutions
            quantization.quantize_static(
                folded,
                rounded,
                _Images(np.asarray(images[chosen])),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            return rounded.read_bytes()
    finally:
        logger.setLevel(level)


def _is_full(folder: Path, size: int) -> bool:
    """Whether the disk has no room for so many bytes, or for `FILES` files."""
    if shutil.disk_usage(folder).free < size:
        return True
    if not hasattr(os, "statvfs"):  # Windows
        return False
    disk = os.statvfs(folder)
    return disk.f_files > 0 and disk.f_favail < FILES  # some file systems have no number of files


class _Images:
    """The images in blocks, as ONNX Runtime asks for them."""

    def __init__(self, images: np.ndarray) -> None:
        self._blocks = self._in_blocks(images)

    @staticmethod
    def _in_blocks(images: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(images), BLOCK):
            yield np.ascontiguousarray(images[start : start + BLOCK])

    def get_next(self) -> dict[str, np.ndarray] | None:
        block = next(self._blocks, None)
        return None if block is None else {"images": block}


FORMAT = Format("model-int8.onnx", ROUNDED, require_onnx, _serialise, to_onnx.FORMAT.read)
