"""How an ejected script loads its data."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from misread.data.digits import BOX, SIDE, TEST_FRACTION
from misread.data.download import places
from misread.data.geometry import place
from misread.data.idx_folder import find_idx
from misread.data.image_set import TEST_FRACTION as CARVED
from misread.data.image_set import ImageSet
from misread.data.load import EMBEDDED
from misread.data.named import FILES, NAMED
from misread.data.picture import EXTENSIONS, as_channels, grey_or_rgb, resize
from misread.data.splits import carve
from misread.lab.source_parts import Part
from misread.runs.run import Run

ARRAYS = "data.npz"  # beside the script, for data that takes more than a few lines to load


@dataclass
class DataText:
    """The lines of `load_data` that read the arrays of each split, and what they need.

    argument: what the script's argument names, in words; empty without one. default: its default value.
    arrays:   whether the script reads `ARRAYS`, which has every split and has to be written.
    has_val:  whether the data has a validation split of its own.
    """

    lines: list[str]
    parts: list[Part] = field(default_factory=list)
    argument: str = ""
    default: str = ""
    arrays: bool = False
    has_val: bool = False


def data_text(run: Run) -> DataText:
    """How to load the run's data: by a few lines, or from `ARRAYS`.

    Raises DataError or RunError: it cannot be loaded.
    """
    record = run.record
    if record.label_patch or not record.data.source:
        return _from_arrays()
    if record.data.source == EMBEDDED:
        return _digits()
    if record.data.source in NAMED:
        return _named(record.data.source)
    source = Path(record.data.source)
    if source.is_dir() and (found := find_idx(source)):
        names = {split: [found[split, kind].name for kind in ("images", "labels")] for split, _ in found}
        return _idx(names, "the folder of the IDX files", str(source), run.data)
    if source.suffix.lower() == ".npz":
        return _npz(run.data, str(source)) if _has_class_numbers(source) else _from_arrays()
    return _class_folders(run.data, source) or _from_arrays()


def arrays_of(run: Run) -> dict[str, np.ndarray]:
    """The images and labels that the run trained on, was validated on and is tested on, for `ARRAYS`."""
    splits = {split: run.split(split) for split in ("train", "val", "test")}
    if run.record.label_patch:
        splits |= {split: run.split_with_fixes(split) for split in ("train", "val")}
    arrays = {f"x_{name}": np.asarray(split.images) for name, split in splits.items()}
    return arrays | {f"y_{name}": split.labels for name, split in splits.items()}


def splitting(text: DataText, run: Run) -> list[str]:
    """The lines of `text`, followed by those that carve the splits that the data does not have."""
    lines = list(text.lines)
    if text.arrays:
        return lines
    validation = run.recipe.validation
    if run.record.data.carved_test:
        lines += _carving("test", CARVED, 0)
    if validation.name == "show-test":
        lines.append('data["val"] = data["test"]  # shown after every epoch; nothing is chosen by it')
    elif not text.has_val:
        lines += _carving("val", validation.fraction, run.recipe.seed)
    return lines


def _carving(split: str, fraction: float, seed: int) -> list[str]:
    return [
        'images, labels = data["train"]',
        f"keep, carved = carve(labels, {fraction}, seed={seed})",
        f'data["{split}"] = images[carved], labels[carved]',
        'data["train"] = images[keep], labels[keep]',
    ]


def _from_arrays() -> DataText:
    lines = [
        "arrays = np.load(DATA)",
        'data = {split: (arrays[f"x_{split}"], arrays[f"y_{split}"]) for split in ("train", "val", "test")}',
    ]
    return DataText(lines, argument="the file of the arrays", default=ARRAYS, arrays=True)


def _digits() -> DataText:
    lines = [
        "bunch = load_digits()  # 1,797 digits of 8x8 pixels, made larger as those of MNIST were",
        "ink = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]",
        f'images = np.stack([place(image, ({SIDE}, {SIDE}), {BOX}, "mass") for image in ink])',
        "labels = bunch.target.astype(np.int64)",
        f"keep, carved = carve(labels, {TEST_FRACTION}, seed=0)",
        'data = {"train": (images[keep], labels[keep]), "test": (images[carved], labels[carved])}',
    ]
    return DataText(lines, [place, carve])


def _named(name: str) -> DataText:
    names = {split: [FILES[split, kind] for kind in ("images", "labels")] for split in ("train", "test")}
    files = [file for pair in names.values() for file in pair]
    folders = (place.path for place in places(NAMED[name]) if all((place.path / file).is_file() for file in files))
    text = _idx(names, f"the folder of the four files of {name}", str(next(folders, name)), None)
    mirror = NAMED[name].mirrors[0]
    text.lines[0:0] = [
        "DATA.mkdir(parents=True, exist_ok=True)",
        f"for file in {quoted(files)}:",
        "    if not (DATA / file).exists():",
        "        try:",
        f'            urllib.request.urlretrieve("{mirror}" + file, DATA / file)',
        "        except OSError as error:",
        '            sys.exit(f"{DATA} has no {file}, and it cannot be downloaded: {error}")',
    ]
    return text


def _idx(names: dict[str, list[str]], argument: str, default: str, data: ImageSet | None) -> DataText:
    lines = ["data = {"]
    lines += [f'    "{split}": (read_idx(DATA / "{x}"), read_idx(DATA / "{y}")),' for split, (x, y) in names.items()]
    lines += ["}"]
    if data is not None and not _counts_from_zero(data):
        lines += ['numbers = np.unique(data["train"][1])  # the classes, in order']
        lines += ["data = {split: (x, np.searchsorted(numbers, y)) for split, (x, y) in data.items()}"]
    lines += ["data = {split: (x.reshape(*x.shape[:3], -1), y.astype(np.int64)) for split, (x, y) in data.items()}"]
    return DataText(lines, [read_idx, carve], argument, default, has_val="val" in names)


def _npz(data: ImageSet, default: str) -> DataText:
    splits = tuple(split for split in ("train", "val", "test") if split != "test" or not data.carved_test)
    splits = tuple(split for split in splits if split != "val" or data.val is not None)
    lines = [
        "arrays = np.load(DATA)",
        'data = {split: (arrays[f"x_{split}"], arrays[f"y_{split}"]) for split in ' + quoted(splits) + "}",
        "data = {split: (x.reshape(*x.shape[:3], -1), y.astype(np.int64)) for split, (x, y) in data.items()}",
    ]
    return DataText(lines, [carve], "the .npz file", default, has_val="val" in splits)


def _has_class_numbers(path: Path) -> bool:
    """Whether the arrays are uint8 images and labels that need no conversion."""
    with np.load(path, allow_pickle=False) as arrays:
        keys = [key for key in arrays.files if key[:2] in ("x_", "y_")]
        labels = [arrays[key] for key in keys if key[0] == "y"]
        images = [arrays[key].dtype == np.uint8 for key in keys if key[0] == "x"]
        plain = all(y.ndim == 1 and y.dtype.kind in "iu" for y in labels)
        named = "class_names" in arrays.files
        return plain and all(images) and (named or set(np.unique(arrays["y_train"])) == set(range(labels[0].max() + 1)))


def _counts_from_zero(data: ImageSet) -> bool:
    return data.class_names == tuple(map(str, range(data.n_classes)))


def _class_folders(data: ImageSet, source: Path) -> DataText | None:
    """For pictures in a folder for each class; None if they are elsewhere, or some of them cannot be read."""
    folders: dict[str, str] = {}
    for name, split in data.splits.items():
        if name == "test" and data.carved_test:
            continue
        if split.files is None:
            return None
        first = Path(split.files[0]).parts
        folders[name] = first[0] if first[0] != data.class_names[split.labels[0]] else "."
        for file, label in zip(split.files, split.labels, strict=True):
            if not Path(file).is_relative_to(Path(folders[name]) / data.class_names[label]):
                return None
    if data.skipped or not all((source / folder).is_dir() for folder in folders.values()):
        return None
    lines = [
        f"suffixes = {quoted(sorted(EXTENSIONS))}",
        f"folders = {json.dumps(folders)}",
        f"shape = {data.image_shape}",
        "data = {split: read_pictures(DATA / folder, CLASSES, suffixes, shape) for split, folder in folders.items()}",
    ]
    parts: list[Part] = [read_pictures, carve]
    return DataText(lines, parts, "the folder of the class folders", str(source), has_val="val" in folders)


def quoted(values: Sequence[str]) -> str:
    """A tuple of plain names as Python has it."""
    return "(" + ", ".join(f'"{value}"' for value in values) + (",)" if len(values) == 1 else ")")


def read_idx(path: Path) -> np.ndarray:
    """The array in a file of MNIST's format: a header with its sizes, then the values."""
    contents = path.read_bytes()
    if path.suffix == ".gz":
        contents = gzip.decompress(contents)
    shape = [int.from_bytes(contents[i : i + 4], "big") for i in range(4, 4 + 4 * contents[3], 4)]
    return np.frombuffer(contents, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def read_pictures(
    folder: Path, classes: Sequence[str], suffixes: Sequence[str], shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures in the folder of each class as (N, H, W, C) uint8 of one shape (H, W, C), and their labels."""
    images, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted(file for file in (folder / name).rglob("*") if file.suffix.lower() in suffixes):
            with Image.open(path) as picture:
                pixels = grey_or_rgb(ImageOps.exif_transpose(picture))
            images.append(as_channels(resize(pixels, *shape[:2]), shape[2]))
            labels.append(label)
    return np.stack(images), np.array(labels)
