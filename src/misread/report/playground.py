"""What a page needs for the rooms Draw and Look inside: the network and some images, compressed."""

import gzip
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from misread.messages import LANGUAGES, Message, catalogue
from misread.web.model_file import Precision, read_header

PRECISIONS: tuple[Precision, ...] = ("float16", "int8")  # the first that takes at most MODEL_CHARACTERS, or the last
MODEL_CHARACTERS = 2_000_000
TEXTS = ("draw", "inside", "shell")  # keys of messages begin with these


@dataclass(frozen=True)
class Playground:
    """The network of a page, and the images that its rooms show.

    model:  the file by `model_bytes`.
    pixels: (n, H, W, C) uint8; labels: (n,); rows: (n,) in the source; files: n names, or None.
    run:    what the rooms read about the run: name, data.
    """

    model: bytes
    pixels: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    files: list[str] | None
    run: dict[str, Any]

    def data(self) -> dict[str, Any]:
        """For the page's script."""
        return {
            "model": _compressed(self.model),
            "pixels": _compressed(np.ascontiguousarray(self.pixels).tobytes()),
            "labels": self.labels.tolist(),
            "rows": self.rows.tolist(),
            "files": self.files,
            "run": self.run,
            "texts": {language: catalogue(language, TEXTS) for language in LANGUAGES},
        }

    def note(self) -> str:
        """What the rounding of the weights changes, for the conditions of the page."""
        header = read_header(self.model)
        error = header["error"]
        return Message(
            "fact.playground",
            precision=header["precision"],
            images=error["images"],
            changed=error["changed"],
            largest=f"{error['largest']:.4f}",
        )


def smallest_model(model_file: Callable[[Precision], bytes]) -> bytes:
    """The file of a network in the finest of `PRECISIONS` that takes little room in a page."""
    for precision in PRECISIONS:
        file = model_file(precision)
        if len(_compressed(file)) <= MODEL_CHARACTERS:
            break
    return file


def _compressed(data: bytes) -> str:
    return b64encode(gzip.compress(data, mtime=0)).decode()
