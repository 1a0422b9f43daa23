"""Label patches: fixes of labels in a file of their own, so that images and original labels are never touched.

A patch is a text file, UTF-8, one JSON object a line:
image: the `image_hash` of the image that the fix is for, wherever that image lies and however often it is there.
old:   the name of the class that it was taken for until then. new: that of the class it should have.
by, at, note: who, when (ISO 8601, UTC), and why.
Lines are only ever added. The last line of an image counts; where it leads back to what the image's first line calls
old, the fix is undone.
"""

import errno
import getpass
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from misread.data.image_hash import image_hashes
from misread.data.image_set import ImageSet
from misread.errors import DataError
from misread.files import write_text
from misread.names import nearest

HASH = re.compile(r"[0-9a-f]{64}")
SHOWN = 12  # hex digits of a hash in messages and tables; enough to tell images apart


@dataclass(frozen=True)
class Fix:
    """One line of a patch, as the module says."""

    image: str
    old: str
    new: str
    by: str = ""
    at: str = ""
    note: str = ""

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class LabelPatch:
    """A patch as it was read.

    lines:    every whole line, in order. cut_off: a message for each line that was not written to its end.
    contents: of the file. where: the file, for messages.
    """

    lines: tuple[Fix, ...]
    cut_off: tuple[str, ...]
    contents: bytes
    where: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.contents).hexdigest()

    @cached_property
    def fixes(self) -> dict[str, Fix]:
        """The fixes in force by image: the last line of each, with the `old` of its first; none where they are one."""
        first: dict[str, Fix] = {}
        last: dict[str, Fix] = {}
        for line in self.lines:
            first.setdefault(line.image, line)
            last[line.image] = line
        return {image: replace(fix, old=first[image].old) for image, fix in last.items() if fix.new != first[image].old}

    def find_in(self, data: ImageSet) -> list[tuple[str, int, Fix]]:
        """Every image of the data that has a fix, in data order: its split, its position there, the fix."""
        return [
            (name, position, self.fixes[image])
            for name, split in data.splits.items()
            for position, image in enumerate(image_hashes(split.images))
            if image in self.fixes
        ]

    def fix(self, data: ImageSet) -> "FixedLabels":
        """The data with the labels that it has by the patch; the data itself stays as it is.

        Raises DataError: no fix is for an image of this data, or one is to a class that the data has not.
        """
        unknown = sorted({f.new for f in self.fixes.values()} - set(data.class_names))
        if unknown:
            raise DataError(
                f"{self.where} has fixes to {', '.join(map(repr, unknown))}, no class of {data.name}."
                f"{nearest(unknown[0], data.class_names)} Its classes: {', '.join(data.class_names)}."
            )
        found = self.find_in(data)
        if self.fixes and not found:
            raise DataError(
                f"None of the {_counted(len(self.fixes), 'fix', 'fixes')} in {self.where} is for an image of "
                f"{data.name}.\nThe patch was made for other data, or for these images at another size."
            )
        labels = {name: split.labels.copy() for name, split in data.splits.items()}
        surprising = 0
        for name, position, fix in found:
            surprising += data.class_names[labels[name][position]] not in (fix.old, fix.new)
            labels[name][position] = data.class_names.index(fix.new)
        distinct = len({fix.image for _, _, fix in found})
        return FixedLabels(
            data=replace(data, splits={name: replace(s, labels=labels[name]) for name, s in data.splits.items()}),
            patch=self,
            found=distinct,
            changed={name: int((labels[name] != split.labels).sum()) for name, split in data.splits.items()},
            copies=len(found) - distinct,
            surprising=surprising,
        )


@dataclass(frozen=True)
class FixedLabels:
    """Data with fixed labels, and what the patch met there.

    found:      how many fixes of the patch are for images of the data. copies: further images with the same contents.
    changed:    how many labels of each split are now others.
    surprising: how many images had a label that was neither the fix's old nor its new one.
    """

    data: ImageSet
    patch: LabelPatch
    found: int
    changed: dict[str, int]
    copies: int
    surprising: int

    def messages(self) -> list[str]:
        """What a user should know of it, a line each."""
        fixes, where = len(self.patch.fixes), self.patch.where
        changed = ", ".join(f"{n:,} of {split}" for split, n in self.changed.items() if n) or "none"
        lines = [
            f"Labels fixed by {where}: {changed}; {self.found:,} of its {_counted(fixes, 'fix', 'fixes')} "
            f"{'is' if self.found == 1 else 'are'} for images of {self.data.name}."
        ]
        if self.copies:
            copies = _counted(self.copies, "exact copy", "exact copies")
            lines.append(f"These images have {copies}, to which the fixes apply as well.")
        if self.surprising:
            were = _counted(self.surprising, "image had", "images had")
            lines.append(
                f"Note: {were} a label that was neither the old nor the new one of the fix; fixed all the same."
            )
        return [*lines, *self.patch.cut_off]


def read_patch(path: str | Path) -> LabelPatch:
    """A patch from its file. Raises DataError: it cannot be read, or a whole line is no fix; says which."""
    try:
        return _parse(Path(path).expanduser().read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"The patch {path} cannot be read: {error.strerror}.") from None


def add_fixes(
    path: str | Path, data: ImageSet, new_labels: Mapping[str, str], *, by: str | None = None, note: str = ""
) -> list[Fix]:
    """Add a fix to a patch file, which is made where there is none, for each image: its hash -> its class's name.

    A hash may be cut short as long as it is that of one image only. Images that have this label already, by the data
    or by the patch, get no line. Returns the lines that were added.
    Raises DataError: no such image or class in the data, with every problem named; nothing is added then.
    """
    labels: dict[str, list[str]] = {}  # several where copies of an image are labelled differently
    for split in data.splits.values():
        for image, label in zip(image_hashes(split.images), split.labels, strict=True):
            labels.setdefault(image, []).append(data.class_names[label])
    problems, wanted = [], {}
    for given, new in new_labels.items():
        images = [given] if given in labels else [i for i in labels if given and i.startswith(given)]
        if len(images) != 1:
            problems.append(f"{given[:SHOWN]} is the hash of {'no image' if not images else f'{len(images)} images'}")
        elif new not in data.class_names:
            problems.append(f"{given[:SHOWN]}: {new!r} is no class.{nearest(new, data.class_names)}")
        else:
            wanted[images[0]] = new
    if problems:
        raise DataError(
            f"Nothing was added to {path}; of the fixes for {data.name} (classes {', '.join(data.class_names)}) "
            "these cannot be:\n" + "\n".join(f"  {p}" for p in problems)
        )

    def lines(patch: LabelPatch) -> list[Fix]:
        made = []
        for image, new in wanted.items():
            now = [patch.fixes[image].new] if image in patch.fixes else labels[image]
            made += [Fix(image, old, new) for old in now if old != new][:1]
        return made

    return _append(path, lines, by, note)


def revert_fixes(path: str | Path, images: Sequence[str], *, by: str | None = None, note: str = "") -> list[Fix]:
    """Undo the fixes of these images, given by their hashes, by a line each that leads back. Returns these lines.

    A hash may be cut short. Raises DataError: the patch has no fix in force for one of them; nothing is added then.
    """
    if not Path(path).expanduser().is_file():
        raise DataError(f"There is no patch {path}.")

    def lines(patch: LabelPatch) -> list[Fix]:
        back, problems = {}, []
        for given in images:
            found = [i for i in patch.fixes if given and i.startswith(given)]
            if len(found) == 1:
                back[found[0]] = Fix(found[0], patch.fixes[found[0]].new, patch.fixes[found[0]].old)
            else:
                problems.append(f"{given[:SHOWN]} {'(no fix in force)' if not found else f'({len(found)} fixes)'}")
        if problems:
            raise DataError(f"{path} has not one fix for {', '.join(problems)}; nothing was reverted.")
        return list(back.values())

    return _append(path, lines, by, note)


@dataclass(frozen=True)
class Conflict:
    """An image for which patches say different labels: (patch, its fix; None where it is undone there)."""

    image: str
    fixes: tuple[tuple[str, Fix], ...]


def merge_patches(patches: Sequence[LabelPatch]) -> tuple[tuple[Fix, ...], tuple[Conflict, ...]]:
    """Every line of the patches once, and the images on which they disagree.

    A patch that holds all lines that another has of an image, and more, is its continuation, and no conflict: the
    continuation counts. Otherwise patches that end in different labels for an image disagree.
    """
    histories: dict[str, list[tuple[str, tuple[Fix, ...]]]] = {}
    for patch in patches:
        by_image: dict[str, list[Fix]] = {}
        for line in patch.lines:
            by_image.setdefault(line.image, []).append(line)
        for image, own in by_image.items():
            histories.setdefault(image, []).append((patch.where, tuple(own)))
    merged: list[Fix] = []
    conflicts = []
    for image, told in histories.items():
        latest = [(w, h) for w, h in told if not any(Counter(h) < Counter(other) for _, other in told)]
        if len({h[-1].new for _, h in latest}) > 1:
            conflicts.append(Conflict(image, tuple((w, h[-1]) for w, h in latest)))
        last = latest[-1][1]
        merged += dict.fromkeys(line for _, h in told for line in h if line not in last)
        merged += last
    return tuple(merged), tuple(conflicts)


def write_patch(path: str | Path, lines: Sequence[Fix]) -> None:
    """A new patch file, whole or not there. Raises DataError: there is one, or it cannot be written."""
    path = Path(path).expanduser()
    if path.exists():
        raise DataError(f"{path} exists already; name a new file.")
    try:
        write_text(path, "".join(line.line() for line in lines))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from None


def _append(path: str | Path, lines_for: Callable[[LabelPatch], Sequence[Fix]], by: str | None, note: str) -> list[Fix]:
    """Add lines made from what the patch says now. Others may add at the same time: each waits for its turn."""
    path = Path(path).expanduser()
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        with path.open("a+b", buffering=0) as file, _locked(file):
            file.seek(0)
            before = file.read()
            lines = [
                replace(line, by=_user() if by is None else by, at=now, note=note)
                for line in lines_for(_parse(before, str(path)))
            ]
            text = "".join(line.line() for line in lines).encode()
            if text and before and not before.endswith(b"\n"):
                text = b"\n" + text  # what was cut off stays a line of its own
            if file.write(text) != len(text):
                file.truncate(len(before))  # half a line helps nobody
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"The patch {path} cannot be written: {error.strerror}.") from None
    return lines


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    """Alone with the file among all that lock it."""
    try:
        import fcntl
    except ImportError:  # Windows: there an append is one write, and no more
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
    yield


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return "unknown"


def _parse(contents: bytes, where: str) -> LabelPatch:
    lines, cut_off = [], []
    for number, raw in enumerate(contents.split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            values = json.loads(raw.decode())
        except ValueError:  # also where a character of several bytes is cut
            cut_off.append(
                f"Note: line {number} of {where} was not written to its end and counts for nothing: "
                f"{raw[:60].decode(errors='replace')}"
            )
            continue
        lines.append(_as_fix(values, f"line {number} of {where}"))
    return LabelPatch(tuple(lines), tuple(cut_off), contents, where)


def _as_fix(values: object, where: str) -> Fix:
    if not isinstance(values, dict):
        raise DataError(f"{where} is no fix but {type(values).__name__}; needed is an object with image, old and new.")
    known = {f.name: values[f.name] for f in fields(Fix) if f.name in values}
    missing = [name for name in ("image", "old", "new") if name not in known]
    wrong = [name for name, value in known.items() if not isinstance(value, str)]
    if missing or wrong:
        said = [f"{', '.join(missing)} missing"] * bool(missing) + [f"{', '.join(wrong)} no text"] * bool(wrong)
        raise DataError(f"{where} is no fix: {'; '.join(said)}.")
    if not HASH.fullmatch(known["image"]):
        raise DataError(f"{where} is no fix: image is {known['image']!r}, not 64 hex digits.")
    return Fix(**known)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
