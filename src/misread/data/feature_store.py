"""Features of images, computed once by a pretrained network and kept in the cache folder."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from misread import files
from misread.data.download import cache_folder
from misread.data.image_hash import image_hashes
from misread.data.load_progress import CountProgress, Lines
from misread.data.mapped_images import Images

FEATURES = "features"  # the folder in the cache, with a folder for each network
NAME = "name.txt"  # in a network's folder
BATCH = 64  # images that the network gets at once
BLOCK = 1024  # images whose features are written to one file: an interruption loses no more
FEWEST = 32  # images whose features are worth a file

Compute = Callable[[np.ndarray], np.ndarray]  # (n, H, W, C) uint8 to (n, D) float32


class FeatureStore:
    """The features of images by one network. An image is known by its contents, whatever data set it is in.

    name:   of the network. sha256: of everything that decides its features.
    Every file in its folder has `hashes` (n, 32) uint8, the SHA-256 of n images, `features` (n, D) float32, and
    `check` (32,) uint8, the SHA-256 of both. Damaged files are ignored.
    """

    def __init__(self, name: str, sha256: str) -> None:
        self.name, self.folder = name, cache_folder() / FEATURES / sha256[:16]
        self._known: dict[str, np.ndarray] = {}  # by the hash of an image
        for path in sorted(self.folder.glob("*.safetensors")):
            self._read(path)

    def features(self, images: Images, compute: Compute, lines: Lines | None = None) -> np.ndarray:
        """(N, D) float32 of images (N, H, W, C) uint8, N at least 1.

        compute: gives the features of images that are not known yet. lines: called with lines about the progress.
        """
        hashes, started = image_hashes(images), time.perf_counter()
        missing = sorted({digest: row for row, digest in enumerate(hashes) if digest not in self._known}.values())
        with CountProgress(f"Features by {self.name}", len(missing), lines) as progress:
            for start in range(0, len(missing), BLOCK):
                rows, parts = np.array(missing[start : start + BLOCK]), []
                for begin in range(0, len(rows), BATCH):
                    parts.append(compute(np.asarray(images[rows[begin : begin + BATCH]])))
                    progress.show(start + begin + len(parts[-1]))
                self._add([hashes[row] for row in rows], np.concatenate(parts))
        if missing and lines:
            lines(
                f"Features by {self.name}: computed for {len(missing):,} of {len(images):,} images in "
                f"{time.perf_counter() - started:.1f} s"
            )
        return np.stack([self._known[digest] for digest in hashes])

    def _add(self, hashes: Sequence[str], features: np.ndarray) -> None:
        self._known.update(zip(hashes, features, strict=True))
        if len(hashes) < FEWEST:
            return
        from safetensors.numpy import save

        digests = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, 32)
        name = hashlib.sha256(digests.data).hexdigest()[:16]
        stored = {"hashes": digests, "features": features, "check": _check(digests, features)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.write_text(self.folder / NAME, self.name)
            files.write_bytes(self.folder / f"{name}.safetensors", save(stored))
        except OSError:
            pass  # the cache only saves time

    def _read(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            stored = load_file(path)
            if not np.array_equal(stored["check"], _check(stored["hashes"], stored["features"])):
                return
            self._known.update(zip([row.tobytes().hex() for row in stored["hashes"]], stored["features"], strict=True))
        except (OSError, SafetensorError, LookupError, ValueError):
            pass


def _check(hashes: np.ndarray, features: np.ndarray) -> np.ndarray:
    digest = hashlib.sha256(np.ascontiguousarray(hashes).data)
    digest.update(f"{features.dtype} {features.shape}".encode())
    digest.update(np.ascontiguousarray(features).data)
    return np.frombuffer(digest.digest(), np.uint8)
