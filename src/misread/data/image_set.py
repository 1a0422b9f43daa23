"""The image set: splits of labelled images, with the row and the file that each image came from."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from misread.data.idx import idx_header
from misread.data.mapped_images import Images, MappedImages
from misread.data.splits import carve
from misread.errors import DataError

SPLITS = ("train", "val", "test")
BLOCK_BYTES = 2**24  # of images that stay in a file, this much is read at a time
TEST_FRACTION = 0.2  # of a set that has no test split; carved with a fixed seed, so that every run sees the same


@dataclass(frozen=True)
class Split:
    """Labelled images of one split.

    images: (N, H, W, C) uint8, 0..255, C = 1 (grey) or 3 (RGB). `MappedImages` where they stay in a file that may be
            larger than memory: index what is needed, since an array of all would read all.
    labels: (N,) int64 class indices.
    rows:   (N,) int64, the row number of each image in the source it was read from. A carved split keeps them.
    files:  the N file names relative to the source, or None where images have no files of their own.
    """

    images: Images
    labels: np.ndarray
    rows: np.ndarray
    files: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self):,} images of {'x'.join(map(str, self.images.shape[1:]))})"

    def take(self, positions: np.ndarray) -> "Split":
        """The images at these positions, in this order."""
        mapped = isinstance(self.images, MappedImages)
        return self._of(positions, self.images.take(positions) if mapped else self.images[positions])

    def view(self, positions: np.ndarray) -> "Split":
        """`take` without a copy: images in memory stay in the array that they are then rows of."""
        images = self.images if isinstance(self.images, MappedImages) else MappedImages(self.images)
        return self._of(positions, images.take(positions))

    def _of(self, positions: np.ndarray, images: Images) -> "Split":
        files = tuple(self.files[i] for i in positions) if self.files is not None else None
        return Split(images, self.labels[positions], self.rows[positions], files)

    @cached_property
    def images_sha256(self) -> str:
        """SHA-256 (hex) of the images as an IDX file would hold them; grey ones are (N, H, W) there, as in MNIST."""
        shape = self.images.shape
        digest = hashlib.sha256(idx_header(shape[:3] if shape[3] == 1 else shape))
        for block in _blocks(self.images):
            digest.update(block.data)
        return digest.hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """Labelled images with their splits; `load` makes one from a name or a path, `from_arrays` from arrays.

    splits:      `train` always; `test` always (carved from train where the source has none, see `carved_test`);
                 `val` where the source has one.
    class_names: K names; label k is `class_names[k]`.
    one_hot:     the labels were given one-hot (they are kept as class indices all the same).
    source:      what `load` takes to load it again, a name or an absolute path; empty for arrays in memory.
    location:    where the files lie.
    size:        the size asked for on loading, if one was.
    skipped:     what was left out on reading, a line each.
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    source: str = ""
    location: str = ""
    carved_test: bool = False
    one_hot: bool = False
    size: tuple[int, int] | None = None
    skipped: tuple[str, ...] = field(default=())
    load_seconds: float = 0.0

    @property
    def train(self) -> Split:
        return self.splits["train"]

    @property
    def val(self) -> Split | None:
        return self.splits.get("val")

    @property
    def test(self) -> Split:
        return self.splits["test"]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.train.images.shape[1:]
        return int(height), int(width), int(channels)

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over class names, and over `images_sha256` and the labels of every split, in a fixed order."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for name in SPLITS:
            if name in self.splits:
                split = self.splits[name]
                digest.update(f"{name}{split.images_sha256}".encode())
                digest.update(np.ascontiguousarray(split.labels).data)
        return digest.hexdigest()

    def split(self, name: str) -> Split:
        """The split of this name, or `all`: every image of a set whose test split was carved, in source order.

        Raises DataError: there is no such split.
        """
        if name == "all" and self.carved_test:
            return _join([self.splits[s] for s in SPLITS if s in self.splits])
        if name not in self.splits:
            raise DataError(f"{self.name} has no split {name!r}; it has {', '.join(self.splits)}.")
        return self.splits[name]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        height, width, channels = self.image_shape
        return f"ImageSet({self.name}: {sizes}; {height}x{width}x{channels}, {self.n_classes} classes)"

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        *,
        test: tuple[Any, Any] | None = None,
        val: tuple[Any, Any] | None = None,
        class_names: Sequence[str] | None = None,
        name: str = "arrays",
    ) -> "ImageSet":
        """An image set from arrays in memory.

        images: (N, H, W) or (N, H, W, C), uint8 0..255, or floats that are all in 0..1 or all whole in 0..255.
                A uint8 `np.memmap`, as np.load(file, mmap_mode="r") gives, stays in its file.
        labels: (N,) whole numbers, or (N, K) one-hot.
        test, val: (images, labels) of these splits; without `test`, one is carved from `images`.
        Raises DataError: lengths differ, or labels that are not classes of the training split.
        """
        parts = {"train": (images, labels), "val": val, "test": test}
        return build_image_set(name, {k: v for k, v in parts.items() if v is not None}, class_names=class_names)


def build_image_set(
    name: str,
    parts: dict[str, tuple[Any, Any]],
    *,
    class_names: Sequence[str] | None = None,
    files: dict[str, tuple[str, ...]] | None = None,
    location: str = "",
    **rest: Any,
) -> ImageSet:
    """Check raw arrays of each split and make an image set of them: every loader ends here.

    parts: split name -> (images, labels), as `ImageSet.from_arrays` takes them.
    Where `class_names` is None the classes are the distinct labels of train, named by their numbers.
    Raises DataError with every problem named.
    """
    where = f" ({location})" if location else ""
    images, labels, one_hot_width = {}, {}, 0
    for split, (raw_images, raw_labels) in parts.items():
        images[split] = checked_images(raw_images, f"{split} images{where}")
        labels[split], width = checked_labels(raw_labels, f"{split} labels{where}")
        one_hot_width = max(one_hot_width, width)
        if len(images[split]) != len(labels[split]):
            raise DataError(
                f"{split} labels has {len(labels[split]):,} rows but {split} images has "
                f"{len(images[split]):,}{where}.\n"
                "Save both from the same split, or drop what has no partner."
            )
        if not len(images[split]):
            raise DataError(f"The {split} split has no images{where}. Add images, or leave the split out.")
    if "train" not in images:
        raise DataError(f"There is no train split{where}; found {', '.join(images) or 'nothing'}.")
    shapes = {split: array.shape[1:] for split, array in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {'x'.join(map(str, shape))}" for split, shape in shapes.items())
        raise DataError(f"The splits have images of different shapes{where}: {listed}.\nBring them to one shape first.")

    values = _distinct(labels["train"])
    if class_names is None and not one_hot_width:
        names = tuple(str(v) for v in values)
        labels = {split: _reindexed(array, values, split, where) for split, array in labels.items()}
    else:
        names = tuple(map(str, range(one_hot_width) if class_names is None else class_names))
        for split, array in labels.items():
            if len(array) and array.max() >= len(names):
                bad = int(np.argmax(array >= len(names)))
                raise DataError(
                    f"{split} labels has {array[bad]} at row {bad:,}, outside 0..{len(names) - 1} for the "
                    f"{len(names)} classes{where}.\nCorrect the label, or name all classes."
                )
    if len(values) < 2:
        raise DataError(
            f"All {len(labels['train']):,} train labels are one class, {names[int(labels['train'][0])]!r}{where}.\n"
            "A classifier needs at least two classes."
        )
    if len(set(names)) < len(names):
        raise DataError(f"Class names are not distinct{where}: {', '.join(names)}.")
    splits = {
        split: Split(images[split], labels[split], np.arange(len(images[split])), (files or {}).get(split))
        for split in SPLITS
        if split in images
    }
    data = ImageSet(name, names, splits, location=location, one_hot=one_hot_width > 0, **rest)
    return data if "test" in splits else _with_carved_test(data)


def _with_carved_test(data: ImageSet) -> ImageSet:
    kept, held = carve(data.train.labels, TEST_FRACTION, seed=0)
    if not len(held):
        raise DataError(
            f"{data.name} has no test split and too few images to carve one: {len(data.train)} in {data.n_classes} "
            "classes.\nAdd images until some class has two, or give a test split."
        )
    splits = {**data.splits, "train": data.train.take(kept), "test": data.train.take(held)}
    return replace(data, splits={s: splits[s] for s in SPLITS if s in splits}, carved_test=True)


def _join(splits: list[Split]) -> Split:
    order = np.argsort(np.concatenate([s.rows for s in splits]), kind="stable")
    files = None
    if all(s.files is not None for s in splits):
        files = tuple(f for s in splits for f in s.files or ())
    joined = Split(
        _joined_images([s.images for s in splits]),
        np.concatenate([s.labels for s in splits]),
        np.concatenate([s.rows for s in splits]),
        files,
    )
    return joined.take(order)


def _joined_images(parts: list[Images]) -> Images:
    mapped = [p for p in parts if isinstance(p, MappedImages) and p.rows is not None]
    if len(mapped) == len(parts) and all(p.file is mapped[0].file for p in mapped):  # carved from one file
        return MappedImages(mapped[0].file, np.concatenate([p.rows for p in mapped]))
    return np.concatenate([np.asarray(p) for p in parts])


def _blocks(images: Images) -> Iterator[np.ndarray]:
    """All images in order, contiguous, some at a time."""
    step = max(1, BLOCK_BYTES // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        yield np.ascontiguousarray(images[start : start + step])


def checked_images(raw: Any, what: str) -> Images:
    """uint8 images (N, H, W, C). `what` names them in messages. Raises DataError: another shape, or other values."""
    images = np.asarray(raw)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise DataError(
            f"{what}: the shape is {np.shape(raw)}; needed is (N, H, W), (N, H, W, 1) for grey or (N, H, W, 3) for RGB."
        )
    if images.dtype == np.uint8 and isinstance(raw, np.memmap):
        return MappedImages(images)
    if images.dtype == np.uint8 or not images.size:
        return images.astype(np.uint8, copy=False)
    if images.dtype.kind not in "iufb":
        raise DataError(f"{what}: values are {images.dtype}, not numbers. Save them as uint8, 0..255.")
    images = images.astype(np.float32) if images.dtype == bool else images
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(images * 255).astype(np.uint8)
    if low >= 0 and high <= 255 and (images.dtype.kind != "f" or bool((images == np.rint(images)).all())):
        return images.astype(np.uint8)
    raise DataError(
        f"{what}: values run from {low:g} to {high:g} ({images.dtype}).\n"
        "Needed are whole numbers 0..255, or floats 0..1; undo any other normalisation first."
    )


def checked_labels(raw: Any, what: str) -> tuple[np.ndarray, int]:
    """int64 labels (N,), and K where they came one-hot (N, K), else 0. Raises DataError: no class numbers."""
    labels = np.asarray(raw)
    if labels.dtype.kind not in "iufb":
        raise DataError(f"{what}: {labels.dtype} values, not whole numbers. Give each class a number and name them.")
    one_hot = labels.ndim == 2 and labels.shape[1] > 1
    if one_hot:
        wrong = (np.count_nonzero(labels, axis=1) != 1) | (labels.sum(axis=1) != 1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{what}: row {row:,} is not one-hot (a single 1, all else 0). "
                "Whole-number labels have shape (N,), one-hot labels (N, K)."
            )
        return labels.argmax(axis=1), labels.shape[1]
    if labels.ndim == 2 and labels.shape[1] == 1:  # Keras's CIFAR arrays
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{what}: the shape is {labels.shape}; needed is (N,) whole numbers or (N, K) one-hot.")
    if labels.dtype.kind == "f":
        wrong = ~(labels == np.rint(labels))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{what}: {labels[row]} at row {row:,} is not a whole number. Labels are class numbers.")
    labels = labels.astype(np.int64)
    if len(labels) and labels.min() < 0:
        row = int(np.argmin(labels))
        raise DataError(f"{what}: {labels[row]} at row {row:,} is below 0. Labels are class numbers from 0 up.")
    return labels, 0


def _distinct(labels: np.ndarray) -> np.ndarray:
    ordered = np.sort(labels)  # not np.unique: it imports numpy.ma, a fifth of the time that MNIST takes from the cache
    return ordered[np.flatnonzero(np.diff(ordered, prepend=-1))]


def _reindexed(labels: np.ndarray, values: np.ndarray, split: str, where: str) -> np.ndarray:
    index = np.searchsorted(values, labels).clip(max=len(values) - 1)
    wrong = values[index] != labels
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{split} labels has {labels[row]} at row {row:,}, which is no class of train "
            f"({values[0]}..{values[-1]}){where}.\nCorrect the label, or add training images of that class."
        )
    return index.astype(np.int64)
