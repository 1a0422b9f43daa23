"""Opens an HDF5 file of weights after a check of everything that is in it.

HDF5 can point into other files (external and soft links, virtual datasets, external storage), can claim sizes that are
not stored, and can load filters from shared libraries. Saved models use none of these; a file with one is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from misread.errors import RunError

MAX_OBJECTS = 20_000
MAX_NAMES = 10_000  # in an attribute


@contextmanager
def audited(source: Any, what: str) -> Iterator[Any]:
    """The `h5py.File` of a file object, open for reading. Raises RunError: see the module. what: it is called."""
    import h5py

    try:
        with h5py.File(source, "r") as file:
            _check(file, what)
            yield file
    except RunError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # HDF5 raises many kinds
        raise RunError(f"{what} is damaged: {str(error).strip() or type(error).__name__}") from None


def _check(file: Any, what: str) -> None:
    """Raises RunError: an object that a saved model does not need."""
    import h5py

    pending, seen = [("", file)], {h5py.h5o.get_info(file.id).addr}
    while pending:
        path, group = pending.pop()
        for name in group:
            place = f"{path}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise RunError(f"{what} has a link to another place, {place} -> {_target(link)}")
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                raise RunError(f"{what} has the same object at two places; one is {place}")
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise RunError(f"{what} has more than {MAX_OBJECTS:,} objects")
            if isinstance(found, h5py.Group):
                pending.append((place, found))
            else:
                _check_dataset(found, f"{what} at {place}")


def _check_dataset(found: Any, where: str) -> None:
    import h5py

    if not isinstance(found, h5py.Dataset):
        raise RunError(f"{where} has an object that is no array")
    if found.is_virtual:
        raise RunError(f"{where} has a virtual dataset, whose values are in other files")
    if found.external:
        raise RunError(f"{where} has its values in another file, {found.external[0][0]}")
    if found.dtype.kind not in "fiub" or found.dtype.subdtype is not None:
        raise RunError(f"{where} has values of the type {found.dtype}, not numbers")
    if found.id.get_create_plist().get_nfilters():
        raise RunError(f"{where} has compressed values, which Keras never writes")
    if found.shape is None or found.nbytes > found.id.get_storage_size():
        stored = found.id.get_storage_size()
        raise RunError(f"{where} claims {found.nbytes:,} bytes of the shape {found.shape}, but {stored:,} are stored")


def _target(link: Any) -> str:
    return f"{getattr(link, 'filename', '')}:{link.path}" if hasattr(link, "path") else type(link).__name__


def string_attribute(holder: Any, name: str, limit: int) -> str:
    """A text of at most `limit` characters. Raises RunError: another value."""
    import h5py

    found = holder.attrs.get_id(name)
    if found.shape != () or h5py.check_string_dtype(found.dtype) is None:
        raise RunError(f"its attribute {name} is no text")
    value = holder.attrs[name]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if len(text) > limit:
        raise RunError(f"its attribute {name} has {len(text):,} characters; {limit:,} are allowed")
    return text


def strings_attribute(holder: Any, name: str) -> list[str]:
    """The texts of an attribute. Keras splits long lists into `name0`, `name1` and so on."""
    import h5py

    parts = [name] if name in holder.attrs else []
    while not parts or parts[0] != name:
        part = f"{name}{len(parts)}"
        if part not in holder.attrs:
            break
        parts.append(part)
    found: list[str] = []
    for part in parts:
        about = holder.attrs.get_id(part)
        if about.shape == (0,):  # an empty list, which Keras writes as float64
            continue
        if len(about.shape) != 1 or about.shape[0] > MAX_NAMES or h5py.check_string_dtype(about.dtype) is None:
            raise RunError(f"its attribute {part} is no list of texts")
        found += [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in holder.attrs[part]]
    return found
