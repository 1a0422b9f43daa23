"""Drawings that a user kept as labelled examples: one `.npz` for each set of classes, which `load` finds by its name.

The set for handwritten digits of 28x28 is `my-digits`; the set for another data set is `my-` and its name. The file has
Keras's keys, and can be read as any other `.npz`:

x_train:     (N, H, W, C) uint8, all drawings in the order in which they were kept.
y_train:     (N,) int64, indices into class_names.
class_names: (K,) strings.
ids:         (N,) int64; an id is never used again.
numbers:     (N,) int64: how many drawings of the class were kept before this one.

The second drawing of a class and every fifth after it are for testing, the others for training. A drawing stays in its
split when others are kept or deleted, so no network is tested on a drawing that it trained on earlier.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from misread.data.image_set import ImageSet, build_image_set
from misread.data.named import DIGIT_NAMES
from misread.data.npz import read_npz
from misread.errors import DataError
from misread.files import locked, replacing

PREFIX = "my-"
DIGITS = "my-digits"
MAX_DRAWINGS = 10_000  # the file is written anew with each
TEST_FIRST, TEST_EVERY = 1, 5  # counted from 0 within a class


@dataclass(frozen=True)
class Drawings:
    """The drawings of one set; for the arrays see the module.

    next_id: the id of the next drawing. next_numbers: (K,) its number, for each class.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    ids: np.ndarray
    numbers: np.ndarray
    next_id: int
    next_numbers: np.ndarray

    @property
    def is_test(self) -> np.ndarray:
        """(N,) bool: whether a drawing is for testing."""
        return self.numbers % TEST_EVERY == TEST_FIRST

    def with_one(self, image: np.ndarray, label: int) -> "Drawings":
        counts = self.next_numbers.copy()
        counts[label] += 1
        return replace(
            self,
            images=np.concatenate([self.images, image[None]]),
            labels=np.append(self.labels, label),
            ids=np.append(self.ids, self.next_id),
            numbers=np.append(self.numbers, self.next_numbers[label]),
            next_id=self.next_id + 1,
            next_numbers=counts,
        )

    def without(self, id: int) -> "Drawings":
        """Raises DataError: there is no drawing of this id."""
        stays = self.ids != id
        if stays.all():
            raise DataError("This drawing is no longer there. Load the list again.")
        parts = {name: getattr(self, name)[stays] for name in ("images", "labels", "ids", "numbers")}
        return replace(self, **parts)


def drawings_folder() -> Path:
    """The folder with the sets: `$MISREAD_DRAWINGS`, or `drawings` in this system's folder for misread's user data."""
    if override := os.environ.get("MISREAD_DRAWINGS"):
        return Path(override)
    from platformdirs import user_data_path

    return user_data_path("misread") / "drawings"


def set_name(data_name: str, class_names: Sequence[str], image_shape: tuple[int, int, int]) -> str:
    """The name of the set for drawings of these classes. Drawings of a drawn set go into the set itself."""
    if tuple(class_names) == DIGIT_NAMES and image_shape == (28, 28, 1):
        return DIGITS
    name = re.sub(r"[^a-z0-9]+", "-", data_name.lower()).strip("-") or "images"
    return name if name.startswith(PREFIX) else PREFIX + name


def drawn_sets() -> list[str]:
    """The names of the sets that there are."""
    return sorted(path.stem for path in drawings_folder().glob(f"{PREFIX}*.npz"))


def read_drawings(name: str, class_names: Sequence[str], image_shape: tuple[int, int, int]) -> Drawings:
    """The set of this name; empty if nothing was kept yet.

    Raises DataError: the file is damaged, or has other classes or images of another shape.
    """
    path = _path(name)
    if not path.exists():
        none = np.empty(0, np.int64)
        images = np.empty((0, *image_shape), np.uint8)
        return Drawings(images, none, tuple(class_names), none, none, 0, np.zeros(len(class_names), np.int64))
    found = _read(path)
    if found.class_names != tuple(class_names) or found.images.shape[1:] != tuple(image_shape):
        height, width, channels = found.images.shape[1:]
        raise DataError(
            f"{path} has drawings of {height}x{width}x{channels} in the classes {', '.join(found.class_names)}, which "
            "this run does not have. Rename that file to begin a new set."
        )
    return found


def keep_drawing(name: str, class_names: Sequence[str], image: np.ndarray, label: int) -> Drawings:
    """Append an image (H, W, C) uint8 with its label; returns the set as it is then. Several processes may do so.

    Raises DataError: no such class, the set is full, has other classes, or cannot be written.
    """
    if not 0 <= label < len(class_names):
        raise DataError(f"The label is {label}, outside 0..{len(class_names) - 1}. Choose one of the classes.")

    def append(found: Drawings) -> Drawings:
        if len(found.labels) >= MAX_DRAWINGS:
            raise DataError(f"{name} has {MAX_DRAWINGS:,} drawings, and takes no more. Delete some first.")
        return found.with_one(image, label)

    return _change(name, class_names, (image.shape[0], image.shape[1], image.shape[2]), append)


def delete_drawing(name: str, class_names: Sequence[str], image_shape: tuple[int, int, int], id: int) -> Drawings:
    """Remove a drawing; returns the set as it is then.

    Raises DataError: it is not there, or the file cannot be written.
    """
    return _change(name, class_names, image_shape, lambda found: found.without(id))


def load_drawings(name: str) -> ImageSet:
    """The set as images to train and evaluate on. Without other data, `all` gives every drawing.

    Raises DataError: there is no such set, or too few drawings: it needs two classes, and two drawings of one class.
    """
    path = _path(name)
    if not path.is_file():
        raise DataError(
            f"There are no drawings of your own named {name!r} yet. Keep some in the room Draw of `misread studio`."
        )
    found = _read(path)
    if not len(found.labels):
        raise DataError(f"{name} is empty: all drawings were deleted. Keep some in the room Draw of `misread studio`.")
    test = found.is_test
    if not test.any() or test.all():
        raise DataError(
            f"{name} has {len(test)} drawing{'s' if len(test) > 1 else ''}, and none left for "
            f"{'training' if test.any() else 'testing'}: that needs a class with two. Keep more drawings."
        )
    whole = build_image_set(
        name, {"train": (found.images, found.labels), "test": (found.images[test], found.labels[test])},
        class_names=found.class_names, location=str(path), carved_test=True,
    )  # fmt: skip
    splits = {"train": whole.train.take(np.flatnonzero(~test)), "test": whole.train.take(np.flatnonzero(test))}
    return replace(whole, splits=splits)


def _path(name: str) -> Path:
    if not re.fullmatch(r"my-[a-z0-9][a-z0-9-]*", name):
        raise DataError(f"{name!r} is not a name of drawings of your own, which are like {DIGITS!r}.")
    return drawings_folder() / f"{name}.npz"


def _read(path: Path) -> Drawings:
    arrays = read_npz(path)
    try:
        images, labels, ids, numbers = (arrays[key] for key in ("x_train", "y_train", "ids", "numbers"))
        names = tuple(str(n) for n in arrays["class_names"])
        counts, next_id = arrays["next_numbers"], int(arrays["next_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} was not written by misread: {error} is missing or wrong. Move it away.") from None
    same = len(images) == len(labels) == len(ids) == len(numbers) and len(counts) == len(names)
    if (
        not same
        or images.ndim != 4
        or images.dtype != np.uint8
        or (len(labels) and not 0 <= labels.min() <= labels.max() < len(names))
    ):
        raise DataError(f"{path} is damaged: its arrays do not fit together. Move it away to begin a new set.")
    return Drawings(images, labels, names, ids, numbers, next_id, counts)


def _change(
    name: str,
    class_names: Sequence[str],
    image_shape: tuple[int, int, int],
    change: Callable[[Drawings], Drawings],
) -> Drawings:
    path = _path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("a+b") as lock, locked(lock):
            changed = change(read_drawings(name, class_names, image_shape))
            with replacing(path) as partial, partial.open("wb") as file:
                np.savez_compressed(
                    file, x_train=changed.images, y_train=changed.labels, class_names=np.array(changed.class_names),
                    ids=changed.ids, numbers=changed.numbers,
                    next_id=changed.next_id, next_numbers=changed.next_numbers,
                )  # fmt: skip
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from None
    return changed
