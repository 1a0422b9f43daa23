"""What is in a `.keras` or legacy `.h5` file: its configuration as plain values, and its weights as arrays.

Nothing is imported by a name from the file, and nothing is unpacked to the disk. Everything is checked before it is
read: a file that holds more than a saved model needs is refused. Messages are RunError, without the path of the file.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from misread.errors import RunError, needing
from misread.lab.keras_hdf5 import audited, string_attribute, strings_attribute

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MEMBERS = (METADATA, CONFIG, WEIGHTS)
MAX_JSON = 2**23  # bytes
MAX_RATIO = 20  # of the size of the weights to that of the whole file; weights hardly compress
MAX_DEPTH = 60  # of the configuration; a nested model takes about 8

Shape = tuple[int, ...]
ReadWeights = Callable[[tuple[str, ...], str, Sequence[Shape]], list[np.ndarray]]


@dataclass(frozen=True)
class KerasArchive:
    """The contents of a file while it is open.

    config:  of the model: `class_name`, `config` and more.
    version: of Keras that wrote the file, if it says so.
    facts:   see `misread.lab.facts`; empty if misread did not write the file.
    read:    (path in a `.keras` file, name of the layer, shapes) -> the layer's weights, float32 of these shapes.
    """

    config: dict[str, Any]
    version: str
    facts: dict[str, str]
    read: ReadWeights


def require_h5py() -> None:
    """Raises RunError: the package of the extra is missing."""
    with needing("keras", "A Keras file"):
        import h5py  # noqa: F401


@contextmanager
def open_archive(path: Path) -> Iterator[KerasArchive]:
    """Open a file by its contents, not by its name. It needs h5py. Raises RunError: see the module."""
    if path.is_dir():
        raise RunError("it is a folder. Save the model as one file: model.save('model.keras')")
    try:
        with path.open("rb") as file:
            start = file.read(8)
            file.seek(0)
            if start.startswith(b"PK"):
                with zipfile.ZipFile(file) as members:
                    yield from _zip(members, path.stat().st_size)
            elif start == b"\x89HDF\r\n\x1a\n":
                yield from _legacy(file)
            else:
                raise RunError(
                    "it is neither a .keras nor an .h5 file. Save the model again: model.save('model.keras')"
                )
    except OSError as error:
        raise RunError(f"it cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise RunError(f"it is damaged: {error}") from None


def _zip(members: zipfile.ZipFile, size: int) -> Iterator[KerasArchive]:
    """The contents of a `.keras` file. size: of the file in bytes."""
    infos = members.infolist()
    names = [info.filename for info in infos]
    if unknown := sorted({name for name in names if name not in MEMBERS}):
        raise RunError(f"it holds {_quoted(unknown)}; a model has only {', '.join(MEMBERS)}")
    if len(set(names)) < len(names):
        raise RunError(f"it holds {_quoted(sorted({n for n in names if names.count(n) > 1}))} twice")
    if missing := [name for name in MEMBERS if name not in names]:
        raise RunError(f"it has no {', '.join(missing)}")
    for info in infos:
        if info.flag_bits & 1:
            raise RunError(f"{info.filename} is encrypted")
        limit = MAX_RATIO * size if info.filename == WEIGHTS else MAX_JSON
        if info.file_size > limit:
            raise RunError(
                f"{info.filename} claims {info.file_size:,} bytes; {limit:,} are allowed in a file of {size:,} bytes"
            )
    config, metadata = (_json(members.read(name), name) for name in (CONFIG, METADATA))
    with audited(io.BytesIO(members.read(WEIGHTS)), WEIGHTS) as file:

        def read(path: tuple[str, ...], name: str, shapes: Sequence[Shape]) -> list[np.ndarray]:
            places = [f"{'/'.join(path)}/vars/{i}" for i in range(len(shapes))]
            return [_array(file, place, shape, name) for place, shape in zip(places, shapes, strict=True)]

        yield KerasArchive(config, str(metadata.get("keras_version", "")), _facts(metadata), read)


def _legacy(source: Any) -> Iterator[KerasArchive]:
    """The contents of an `.h5` file by `model.save`."""
    with audited(source, "the file") as file:
        if "model_config" not in file.attrs:
            raise RunError("it has weights but no model_config. Save the whole model: model.save('model.keras')")
        text = string_attribute(file, "model_config", MAX_JSON)
        version = string_attribute(file, "keras_version", 100) if "keras_version" in file.attrs else ""

        def read(path: tuple[str, ...], name: str, shapes: Sequence[Shape]) -> list[np.ndarray]:
            if len(path) > 2:
                raise RunError(
                    f"the layer {name!r} is in a nested model. Save it in the new format: model.save('model.keras')"
                )
            group = file.get(f"model_weights/{name}")
            names = [] if group is None else strings_attribute(group, "weight_names")
            if len(names) != len(shapes):
                raise RunError(f"the layer {name!r} has {len(names)} weights in the file, but needs {len(shapes)}")
            places = [f"model_weights/{name}/{each}" for each in names]
            return [_array(file, place, shape, name) for place, shape in zip(places, shapes, strict=True)]

        yield KerasArchive(_json(text.encode(), "model_config"), version, {}, read)


def _array(file: Any, place: str, shape: Shape, layer: str) -> np.ndarray:
    import h5py

    found = file.get(place)
    if not isinstance(found, h5py.Dataset):
        raise RunError(f"the weight {place} of the layer {layer!r} is missing")
    if found.shape != shape:
        raise RunError(f"the weight {place} of the layer {layer!r} has the shape {found.shape}, but needs {shape}")
    if found.dtype.kind != "f":
        raise RunError(f"the weight {place} of the layer {layer!r} has the type {found.dtype}, but must be float32")
    array = found[()].astype(np.float32)
    if not np.isfinite(array).all():
        raise RunError(f"the weight {place} of the layer {layer!r} has values that are not finite")
    return array


def _json(raw: bytes, name: str) -> dict[str, Any]:
    """A JSON object. Raises RunError: another value, a key twice, or nested too deep."""
    if len(raw) > MAX_JSON:
        raise RunError(f"{name} has {len(raw):,} bytes; {MAX_JSON:,} are allowed")
    try:
        value = json.loads(raw, object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise RunError(f"{name} is nested too deep") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise RunError(f"{name} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"{name} is no JSON object")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)
                 if isinstance(inner, dict | list)]  # fmt: skip
    if level:
        raise RunError(f"{name} is nested too deep")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _facts(metadata: dict[str, Any]) -> dict[str, str]:
    found = metadata.get("misread")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _quoted(names: list[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:3])
    return shown + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
