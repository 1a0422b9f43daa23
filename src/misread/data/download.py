"""Finds a named data set on this machine or downloads it. Every file is verified before it is stored or used."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from misread.data import decompressed
from misread.data.decompressed import Contents
from misread.data.idx import idx_bytes, parse_idx, read_bytes, sha256
from misread.data.image_set import ImageSet, build_image_set
from misread.data.named import FILES, NamedData
from misread.errors import DataError, DownloadError
from misread.files import replacing

DECOMPRESSED = "decompressed"  # the folder in the cache with decompressed copies
TIMEOUT_SECONDS = 5.0  # to wait for a mirror to answer, and between two pieces of a download


@dataclass(frozen=True)
class Place:
    """A possible location of a named data set: a folder of the four IDX files, or Keras's `mnist.npz`."""

    what: str
    path: Path

    def exists(self) -> bool:
        return self.path.is_file() or (self.path.is_dir() and any(_idx_file(self.path, f) for f in FILES.values()))


def cache_folder() -> Path:
    """The folder for downloads and copies: `$MISREAD_CACHE`, or this system's cache folder for misread."""
    if override := os.environ.get("MISREAD_CACHE"):
        return Path(override)
    from platformdirs import user_cache_path

    return user_cache_path("misread")


def places(data: NamedData) -> Iterator[Place]:
    """All possible locations of the set on this machine, in the order in which they are tried."""
    if root := os.environ.get("MISREAD_DATA"):
        yield Place("$MISREAD_DATA", Path(root) / data.name)
    yield Place("cache", cache_folder() / data.name)
    torchvision = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}[data.name]
    for above in (Path("data"), Path.home() / "data", Path.home() / ".cache" / "torchvision"):
        yield Place("torchvision's copy", above / torchvision / "raw")
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    yield Place("Keras's copy", keras / (f"{data.name}.npz" if data.name == "mnist" else data.name))


def load_named(data: NamedData, progress: Callable[[str], None] = lambda line: None) -> ImageSet:
    """The named set from the first place that has it, else from a mirror.

    progress: called with a line of text for each source that is tried.
    Raises DataError: a copy on this machine is damaged; the message names it. It is never replaced.
    Raises DownloadError: no place on this machine has the set, and every mirror failed; the message lists the reasons.
    """
    for place in places(data):
        incomplete = place.what == "cache" and bool(_missing(place.path))  # an interrupted download: continued below
        if place.exists() and not incomplete:
            progress(f"{data.name}: {place.what}, {place.path}")
            return _load_place(data, place.path)
    progress(f"{data.name}: not on this machine, trying {len(data.mirrors)} mirrors")
    return _load_place(data, download(data, progress))


def _load_place(data: NamedData, path: Path) -> ImageSet:
    """The set from its decompressed copies in the cache if they are valid, else from the place itself."""
    sources = [path] if path.is_file() else _idx_files(path)
    stamps = decompressed.stamps(sources)  # taken before reading: a file that changes meanwhile is read again next time
    folder = cache_folder() / DECOMPRESSED / data.name
    names = [name.removesuffix(".gz") for name in FILES.values()]
    contents = decompressed.find_copies(folder, stamps, names, data.contents_sha256)
    if contents is None:
        files = _read_keras(data, path) if path.is_file() else [_verified(data, i, p) for i, p in enumerate(sources)]
        contents = Contents(files, data.contents_sha256 or [sha256(file) for file in files])
        decompressed.write_copies(folder, stamps, names, contents)
    return _image_set(data, contents, path)


def download(data: NamedData, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Download the four files into the cache and verify each before it gets its name. Returns the folder.

    Raises DownloadError: every mirror failed; the message lists the reasons.
    """
    folder = cache_folder() / data.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"The cache folder {folder} cannot be created: {error.strerror}. Set MISREAD_CACHE to another folder."
        ) from None
    for index, file in enumerate(FILES.values()):
        if not (folder / file).exists():
            _fetch(data, index, folder / file, progress)
    return folder


def _fetch(data: NamedData, index: int, target: Path, progress: Callable[[str], None]) -> None:
    import pooch
    import requests

    reasons = []
    for mirror in data.mirrors:
        progress(f"{data.name}: {mirror}{target.name}")
        try:
            with replacing(target) as partial:
                pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS)(mirror + target.name, str(partial), None)
                _verified(data, index, partial)
            return
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
            reasons.append(f"{mirror}: no connection, or the connection was lost")
        except requests.exceptions.Timeout:
            reasons.append(f"{mirror}: no answer within {TIMEOUT_SECONDS:g} s")
        except (requests.exceptions.RequestException, DataError, OSError) as error:
            reasons.append(f"{mirror}: {str(error).replace(str(partial), target.name)}")
    raise DownloadError(
        f"{data.name} could not be downloaded: no mirror provided {target.name}.\n  "
        + "\n  ".join(reasons)
        + f"\nConnect to the network, or put the four files into a folder {data.name!r} and set MISREAD_DATA to its "
        "parent folder."
    )


def _idx_file(folder: Path, gz_name: str) -> Path | None:
    """The file in a folder, plain or gzipped."""
    return next((p for p in (folder / gz_name, folder / gz_name.removesuffix(".gz")) if p.is_file()), None)


def _idx_files(folder: Path) -> list[Path]:
    if missing := _missing(folder):
        raise DataError(f"{folder} has no {', '.join(missing)}. Put the missing files there, or remove the folder.")
    return [path for name in FILES.values() if (path := _idx_file(folder, name))]


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES.values() if _idx_file(folder, name) is None]


def _verified(data: NamedData, index: int, path: Path) -> bytes:
    """The decompressed bytes of a file. Raises DataError: its hash is not the published one."""
    contents = read_bytes(path)
    if data.contents_sha256:
        published, actual, of = data.contents_sha256[index], sha256(contents), "its contents"
    else:
        published, actual, of = data.gz_sha256[index], sha256(path.read_bytes()), "the file"
    if actual != published:
        raise DataError(f"{path}: the SHA-256 of {of} is {actual}, not {published}. It is damaged; download it again.")
    return contents


def _read_keras(data: NamedData, path: Path) -> list[bytes]:
    """Keras's mnist.npz has the same arrays without IDX headers. With headers they must have the published hashes."""
    from misread.data.npz import read_npz

    arrays = read_npz(path)
    found = [arrays.pop(key) for key in ("x_train", "y_train", "x_test", "y_test") if key in arrays]
    files = [idx_bytes(array) for array in found if array.dtype.kind in "iu"]
    if tuple(map(sha256, files)) != data.contents_sha256:
        raise DataError(f"{path}: its arrays are not those of {data.name} (SHA-256 differs). Remove or replace it.")
    return files


def _image_set(data: NamedData, contents: Contents, path: Path) -> ImageSet:
    arrays = {
        part: parse_idx(file, path, (3,) if part[1] == "images" else (1,))
        for part, file in zip(FILES, contents.files, strict=True)
    }
    parts = {split: (arrays[split, "images"], arrays[split, "labels"]) for split in ("train", "test")}
    images = build_image_set(data.name, parts, class_names=data.class_names, location=str(path))
    for (split, kind), digest in zip(FILES, contents.sha256, strict=True):
        if kind == "images":
            vars(images.splits[split])["images_sha256"] = (
                digest  # fills the cached property: this hash is already known
            )
    return images
