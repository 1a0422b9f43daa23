"""The image set: splits of labelled images, each image with its row number and file name."""

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
BLOCK_BYTES = 2**24  # of images in a file, read at once
TEST_FRACTION = 0.2  # of a set without a test split; carved with a fixed seed, so that it is the same in every run


@dataclass(frozen=True)
class Split:
    """Labelled images of one split.

    images: (N, H, W, C) uint8, 0..255, C = 1 (grey) or 3 (RGB). `MappedImages` if they stay in a file, which may be
            larger than memory. Index only the images you need: converting them to an array reads all of them.
    labels: (N,) int64 class indices.
    rows:   (N,) int64, the row number of each image in its source. A carved split keeps these numbers.
    files:  the N file names relative to the source; None if the images have no separate files.
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
        """`take` without copying: the result refers to rows of the same array."""
        images = self.images if isinstance(self.images, MappedImages) else MappedImages(self.images)
        return self._of(positions, images.take(positions))

    def _of(self, positions: np.ndarray, images: Images) -> "Split":
        files = tuple(self.files[i] for i in positions) if self.files is not None else None
        return Split(images, self.labels[positions], self.rows[positions], files)

    @cached_property
    def images_sha256(self) -> str:
        """SHA-256 (hex) of the images in IDX format. Grey images are (N, H, W) there, as in MNIST."""
        shape = self.images.shape
        digest = hashlib.sha256(idx_header(shape[:3] if shape[3] == 1 else shape))
        for block in _blocks(self.images):
            digest.update(block.data)
        return digest.hexdigest()


@dataclass(frozen=True)
class ImageSet:
    """Labelled images with their splits; `load` makes one from a name or a path, `from_arrays` from arrays.

    splits:      `train` and `test` always, `val` if the source has one. If the source has no test split, `test` is
                 carved from train, and `carved_test` is true.
    class_names: K names; label k is `class_names[k]`.
    one_hot:     the labels were one-hot in the source. Here they are class indices in any case.
    source:      the argument for `load` that loads the set again, a name or an absolute path; empty for arrays.
    location:    where the data came from, for messages.
    size:        the (H, W) that images were resized to on loading, if any.
    skipped:     a message for each file that could not be read.
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
        """SHA-256 (hex) of the class names, and of the images and labels of every split, in a fixed order."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for name in SPLITS:
            if name in self.splits:
                split = self.splits[name]
                digest.update(f"{name}{split.images_sha256}".encode())
                digest.update(np.ascontiguousarray(split.labels).data)
        return digest.hexdigest()

    def split(self, name: str) -> Split:
        """The split of this name. If the test split was carved, `all` gives every image in source order.

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

        images: (N, H, W) or (N, H, W, C), uint8 0..255, or floats that are all in 0..1 or all whole numbers in 0..255.
                A uint8 `np.memmap`, for example from np.load(file, mmap_mode="r"), stays in its file.
        labels: (N,) whole numbers, or (N, K) one-hot.
        test, val: (images, labels) of these splits. Without `test`, a test split is carved from `images`.
        Raises DataError: lengths differ, or labels that do not occur in the training split.
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
    """Check the raw arrays of each split and build an image set. Every loader calls this function.

    parts: split name -> (images, labels), as `ImageSet.from_arrays` takes them.
    If `class_names` is None, the classes are the distinct labels of train, named by their numbers.
    Raises DataError: arrays or labels that cannot be used.
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
                "Save both from the same split, or remove the extra rows."
            )
        if not len(images[split]):
            raise DataError(f"The {split} split has no images{where}. Add images, or leave the split out.")
    if "train" not in images:
        raise DataError(f"There is no train split{where}; found {', '.join(images) or 'nothing'}. Add one.")
    shapes = {split: array.shape[1:] for split, array in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {'x'.join(map(str, shape))}" for split, shape in shapes.items())
        raise DataError(
            f"The splits have images of different shapes{where}: {listed}.\nResize them to one shape first."
        )

    if class_names is None and one_hot_width:
        class_names = tuple(map(str, range(one_hot_width)))
    names, labels = _with_class_names(labels, class_names, where)
    splits = {
        split: Split(images[split], labels[split], np.arange(len(images[split])), (files or {}).get(split))
        for split in SPLITS
        if split in images
    }
    data = ImageSet(name, names, splits, location=location, one_hot=one_hot_width > 0, **rest)
    return data if "test" in splits else _with_carved_test(data)


def _with_class_names(
    labels: dict[str, np.ndarray], class_names: Sequence[str] | None, where: str
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The names of the classes, and the labels of each split (N,) int64 as indices into them.

    Without `class_names`, the classes are the distinct labels of train. Raises DataError: see `build_image_set`.
    """
    classes = _distinct(labels["train"])
    if class_names is None:
        names = tuple(str(c) for c in classes)
        labels = {split: _reindexed(array, classes, split, where) for split, array in labels.items()}
    else:
        names = tuple(map(str, class_names))
        for split, array in labels.items():
            if len(array) and array.max() >= len(names):
                bad = int(np.argmax(array >= len(names)))
                raise DataError(
                    f"{split} labels has {array[bad]} at row {bad:,}, outside 0..{len(names) - 1} for the "
                    f"{len(names)} classes{where}.\nCorrect the label, or name all classes."
                )
    if len(classes) < 2:
        raise DataError(
            f"All train images ({len(labels['train']):,}) have one class, {names[int(labels['train'][0])]!r}{where}.\n"
            "A classifier needs at least two classes. Add images of another class."
        )
    if len(set(names)) < len(names):
        raise DataError(f"Class names are not distinct{where}: {', '.join(names)}. Give each class its own name.")
    return names, labels


def _with_carved_test(data: ImageSet) -> ImageSet:
    train, test = carve(data.train.labels, TEST_FRACTION, seed=0)
    if not len(test):
        raise DataError(
            f"{data.name} has no test split, and too few images to carve one: {len(data.train)} in {data.n_classes} "
            "classes.\nAdd images until a class has two, or add a test split."
        )
    splits = {**data.splits, "train": data.train.take(train), "test": data.train.take(test)}
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
    """All images in order, as contiguous blocks."""
    step = max(1, BLOCK_BYTES // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        yield np.ascontiguousarray(images[start : start + step])


def checked_images(raw: Any, what: str) -> Images:
    """uint8 images (N, H, W, C). `what` names them in messages. Raises DataError: unsupported shape or values."""
    images = np.asarray(raw)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise DataError(f"{what}: the shape is {np.shape(raw)}, but must be (N, H, W), (N, H, W, 1) or (N, H, W, 3).")
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
        f"{what}: values range from {low:g} to {high:g} ({images.dtype}).\n"
        "They must be whole numbers 0..255 or floats 0..1. Undo any other normalisation first."
    )


def checked_labels(raw: Any, what: str) -> tuple[np.ndarray, int]:
    """int64 labels (N,), and K if they were one-hot (N, K), else 0. Raises DataError: not class indices."""
    labels = np.asarray(raw)
    if labels.dtype.kind not in "iufb":
        raise DataError(
            f"{what}: {labels.dtype} values, not whole numbers. Number the classes from 0 and use class_names."
        )
    one_hot = labels.ndim == 2 and labels.shape[1] > 1
    if one_hot:
        wrong = (np.count_nonzero(labels, axis=1) != 1) | (labels.sum(axis=1) != 1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{what}: row {row:,} is not one-hot (a single 1, all else 0). "
                "Labels as whole numbers have shape (N,), one-hot labels (N, K)."
            )
        return labels.argmax(axis=1), labels.shape[1]
    if labels.ndim == 2 and labels.shape[1] == 1:  # Keras's CIFAR arrays
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"{what}: the shape is {labels.shape}, but must be (N,) for whole numbers or (N, K) for one-hot labels."
        )
    if labels.dtype.kind == "f":
        wrong = ~(labels == np.rint(labels))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{what}: {labels[row]} at row {row:,} is not a whole number. Labels must be class numbers."
            )
    labels = labels.astype(np.int64)
    if len(labels) and labels.min() < 0:
        row = int(np.argmin(labels))
        raise DataError(f"{what}: {labels[row]} at row {row:,} is negative. Labels must be class numbers, 0 or more.")
    return labels, 0


def _distinct(labels: np.ndarray) -> np.ndarray:
    ordered = np.sort(
        labels
    )  # np.unique would import numpy.ma, which takes a fifth of the time to load MNIST from the cache
    return ordered[np.flatnonzero(np.diff(ordered, prepend=-1))]


def _reindexed(labels: np.ndarray, classes: np.ndarray, split: str, where: str) -> np.ndarray:
    index = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    wrong = classes[index] != labels
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{split} labels has {labels[row]} at row {row:,}, which is not a class of train "
            f"({classes[0]}..{classes[-1]}){where}.\nCorrect the label, or add training images of that class."
        )
    return index.astype(np.int64)
