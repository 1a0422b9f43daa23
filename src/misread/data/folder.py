"""Class folders: one folder of images for each class, directly in a folder or under train/, val/ and test/."""

import os
from pathlib import Path

from misread.data.listing import SPLIT_NAMES, LabelledFiles, Listing, class_order
from misread.data.picture_files import scan_pictures
from misread.errors import DataError


def list_class_folders(folder: Path) -> Listing:
    """The pictures in class folders, class by class in path order. Hidden files are skipped.

    Raises DataError: no classes, two folders for one split, or a split with classes that train does not have.
    """
    split_folders = _split_folders(folder)
    root = split_folders.get("train", folder)
    names = class_order(f.name for f in _subfolders(root))
    if not names:
        raise DataError(
            f"{folder} has no class folders. Put the images of each class into a folder there, or under train/, val/\n"
            "and test/. Or use pictures with a metadata.csv of file names and labels, IDX or .npy files, an .npz,\n"
            "or a .csv."
        )
    splits: dict[str, LabelledFiles] = {}
    for split, root in (split_folders if "train" in split_folders else {"train": folder}).items():
        extra = [f.name for f in _subfolders(root) if f.name not in names]
        if extra:
            raise DataError(
                f"{root} has the class folder {extra[0]!r}, which the train split does not have. Add it to "
                "train, or remove it."
            )
        splits[split] = listed = LabelledFiles()
        for label, name in enumerate(names):
            found = scan_pictures(folder, name if root == folder else os.path.join(root.name, name))
            listed.files += found
            listed.labels += [label] * len(found)
    return Listing(folder, names, tuple(str(root / name) for name in names), splits)


def _split_folders(folder: Path) -> dict[str, Path]:
    """Split -> its folder. A folder `train` with images but no subfolders is a class, of trains for example."""
    found: dict[str, Path] = {}
    for path in _subfolders(folder):
        split = SPLIT_NAMES.get(path.name.lower())
        if split is None or not _subfolders(path):
            continue
        if split in found:
            raise DataError(f"{folder} has {found[split].name} and {path.name}, both the {split} split. Keep one.")
        found[split] = path
    return found


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))
