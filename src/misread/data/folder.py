"""A folder with a folder of images for each class, or with such folders under train/, val/ and test/."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from misread.data.image_set import ImageSet, build_image_set
from misread.data.picture import EXTENSIONS, as_channels, read_picture, resize
from misread.errors import DataError

SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip


def load_folder(folder: Path, size: tuple[int, int] | None = None, strict: bool = False) -> ImageSet:
    """An image set from class folders. Images are read in the order of their paths; hidden ones are passed over.

    size:   (H, W) that every image is resized to; without it all must have one size.
    strict: a file that cannot be read is an error; otherwise it is left out and listed in `skipped`.
    Raises DataError: no classes, an empty class, differing sizes without `size`, or a split with other classes.
    """
    # a folder called train that holds images, not folders, is a class: trains, say
    named = (f for f in _subfolders(folder) if f.name.lower() in SPLIT_FOLDERS and _subfolders(f))
    split_folders = {SPLIT_FOLDERS[f.name.lower()]: f for f in named}
    if "train" not in split_folders:
        split_folders = {"train": folder}
    names = tuple(f.name for f in _by_number_or_name(_subfolders(split_folders["train"])))
    if not names:
        raise DataError(
            f"{folder} has no class folders. Needed: a folder of images for each class, also under train/, val/,\n"
            "test/; or IDX or .npy files; or, instead of a folder, an .npz or a .csv."
        )
    skipped: list[str] = []
    pictures, labels, files = {}, {}, {}
    for split, root in split_folders.items():
        extra = [f.name for f in _subfolders(root) if f.name not in names]
        if extra:
            raise DataError(f"{root} has the class folder {extra[0]!r}, which the train split has not.")
        paths = [(label, p) for label, name in enumerate(names) for p in _image_files(root / name)]
        read = _read_all([p for _, p in paths], strict, skipped)
        kept = [
            (label, path, picture) for (label, path), picture in zip(paths, read, strict=True) if picture is not None
        ]
        for label, name in enumerate(names):
            if split == "train" and not any(k[0] == label for k in kept):
                raise DataError(f"{root / name} has no images that can be read. Add some, or remove the folder.")
        labels[split] = np.array([label for label, _, _ in kept], dtype=np.int64)
        files[split] = tuple(str(path.relative_to(folder)) for _, path, _ in kept)
        pictures[split] = [picture for _, _, picture in kept]
    images = _stack(pictures, files, size, folder)
    parts = {split: (images[split], labels[split]) for split in images}
    name = folder.resolve().name
    return build_image_set(
        name, parts, class_names=names, files=files, location=str(folder), size=size, skipped=tuple(skipped)
    )


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def _by_number_or_name(folders: list[Path]) -> list[Path]:
    if all(f.name.isdecimal() for f in folders):  # so that 10 comes after 9, not after 1
        return sorted(folders, key=lambda f: int(f.name))
    return folders


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (f for f in folder.rglob("*") if not any(p.startswith(".") for p in f.relative_to(folder).parts))
    return sorted(f for f in files if f.suffix.lower() in EXTENSIONS and f.is_file())


def _read_all(paths: list[Path], strict: bool, skipped: list[str]) -> list[np.ndarray | None]:
    def read(path: Path) -> np.ndarray | DataError:
        try:
            return read_picture(path)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter lock
        results = list(pool.map(read, paths))
    problems = [str(r) for r in results if isinstance(r, DataError)]
    if problems and strict:
        raise DataError("\n".join(problems) + "\nRepair or remove what cannot be read, or leave --strict out.")
    skipped.extend(problems)
    return [None if isinstance(r, DataError) else r for r in results]


def _stack(
    pictures: dict[str, list[np.ndarray]],
    files: dict[str, tuple[str, ...]],
    size: tuple[int, int] | None,
    folder: Path,
) -> dict[str, np.ndarray]:
    everything = [(p, f) for split in pictures for p, f in zip(pictures[split], files[split], strict=True)]
    first, first_file = everything[0]
    if size is None:
        other = next(((p, f) for p, f in everything if p.shape[:2] != first.shape[:2]), None)
        if other:
            (h, w), (other_h, other_w) = first.shape[:2], other[0].shape[:2]
            smaller = f"{min(h, other_h)}x{min(w, other_w)}"
            raise DataError(
                f"The images in {folder} differ in size: {first_file} is {h}x{w}, {other[1]} is {other_h}x{other_w} "
                f"(height x width).\nName the size to bring them to, for example --size {smaller}."
            )
    height, width = size or first.shape[:2]
    channels = max(p.shape[-1] for p, _ in everything)
    return {
        split: np.stack([as_channels(resize(p, height, width), channels) for p in ps])
        if ps
        else np.empty((0, height, width, channels), np.uint8)
        for split, ps in pictures.items()
    }
