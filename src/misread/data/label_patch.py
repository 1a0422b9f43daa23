"""Label patches: fixes of labels in a separate file. Images and original labels are never changed.

A patch is a UTF-8 text file with one JSON object per line:
image: the `image_hash` of the image to fix. The fix applies to every copy of it, wherever it is.
old:   the name of its class before the fix. new: the name of the correct class.
by, at, note: who made the fix, when (ISO 8601, UTC), and why.
decision: only in lines that keep the label: what a reviewer decided on the image; see `label_decisions`.
check: the beginning of the SHA-256 of the line's other values, so that a damaged line is noticed. A line that a person
       writes needs none.
Lines are only appended. The last line of an image counts. If its `new` is the `old` of the image's first line, the
label is as it was: the fix is undone, or the label was reviewed and kept.
"""

import errno
import getpass
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from misread.data.image_hash import image_hashes
from misread.data.image_set import ImageSet
from misread.errors import DataError
from misread.files import locked, write_text
from misread.messages import Message
from misread.names import nearest

HASH = re.compile(r"[0-9a-f]{64}")
CHECK, CHECK_DIGITS = "check", 8  # a key of a line, and the hex digits of its value
LONGEST_LINE = 2**20  # bytes; a note is the longest part of a line
SHOWN = 12  # hex digits of a hash in messages and tables; enough to identify an image


@dataclass(frozen=True)
class Fix:
    """One line of a patch; see the module for its fields."""

    image: str
    old: str
    new: str
    by: str = ""
    at: str = ""
    note: str = ""
    decision: str = ""

    def line(self) -> str:
        values = asdict(self) if self.decision else {k: v for k, v in asdict(self).items() if k != "decision"}
        return json.dumps({**values, CHECK: _check(values)}, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class LabelPatch:
    """The contents of a patch file.

    lines:    all complete lines in order. cut_off: a message for each incomplete line, or that there is nothing at all.
    contents: the bytes of the file. where: the path, for messages.
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
        """The active fixes by image: the last line of each, with the `old` of its first. Undone fixes are left out."""
        first: dict[str, Fix] = {}
        last: dict[str, Fix] = {}
        for line in self.lines:
            first.setdefault(line.image, line)
            last[line.image] = line
        return {image: replace(fix, old=first[image].old) for image, fix in last.items() if fix.new != first[image].old}

    def find_in(self, data: ImageSet) -> list[tuple[str, int, Fix]]:
        """All images of the data that have a fix, in data order: split, position in the split, and fix."""
        return [
            (name, position, self.fixes[image])
            for name, split in data.splits.items()
            for position, image in enumerate(image_hashes(split.images))
            if image in self.fixes
        ]

    def fix(self, data: ImageSet) -> "FixedLabels":
        """A copy of the data with the labels fixed.

        Raises DataError: no fix is for an image of this data, or a new class is unknown to the data.
        """
        unknown = sorted({f.new for f in self.fixes.values()} - set(data.class_names))
        if unknown:
            raise DataError(
                f"{self.where} has fixes to {', '.join(map(repr, unknown))}, not a class of {data.name}."
                f"{nearest(unknown[0], data.class_names)} Known classes: {', '.join(data.class_names)}."
            )
        found = self.find_in(data)
        if self.fixes and not found:
            raise DataError(
                f"None of the {_counted(len(self.fixes), 'fix', 'fixes')} in {self.where} is for an image of "
                f"{data.name}.\nThe patch was made for other data, or for these images at another size. "
                "Load that data, or omit the patch."
            )
        labels = {name: split.labels.copy() for name, split in data.splits.items()}
        unexpected = 0
        for name, position, fix in found:
            unexpected += data.class_names[labels[name][position]] not in (fix.old, fix.new)
            labels[name][position] = data.class_names.index(fix.new)
        distinct = len({fix.image for _, _, fix in found})
        return FixedLabels(
            data=replace(data, splits={name: replace(s, labels=labels[name]) for name, s in data.splits.items()}),
            patch=self,
            found=distinct,
            changed={name: int((labels[name] != split.labels).sum()) for name, split in data.splits.items()},
            copies=len(found) - distinct,
            unexpected=unexpected,
        )


@dataclass(frozen=True)
class FixedLabels:
    """Data with fixed labels, and how the patch applied to it.

    found:      the number of fixes that are for images of the data. copies: the number of further images with the
                same contents.
    changed:    the number of changed labels in each split.
    unexpected: the number of images whose label was neither the old nor the new one of the fix.
    """

    data: ImageSet
    patch: LabelPatch
    found: int
    changed: dict[str, int]
    copies: int
    unexpected: int

    def messages(self) -> list[str]:
        """What a user should know about it, one line each."""
        changed = [Message("patch.changed", k=n, split=split) for split, n in self.changed.items() if n]
        lines: list[str] = [
            Message(
                "patch.fixed-one" if self.found == 1 else "patch.fixed",
                where=self.patch.where,
                changed=changed or Message("patch.none"),
                found=self.found,
                fixes=Message("patch.fixes", n=len(self.patch.fixes)),
                data=self.data.name,
            )
        ]
        if self.copies:
            lines.append(Message("patch.copies", n=self.copies))
        if self.unexpected:
            lines.append(Message("patch.unexpected", n=self.unexpected))
        return [*lines, *self.patch.cut_off]


def read_patch(path: str | Path) -> LabelPatch:
    """Read a patch file. Raises DataError: it cannot be read, or a complete line is not a fix; the message names it."""
    try:
        patch = _parse(Path(path).expanduser().read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"The patch {path} cannot be read: {error.strerror}.") from None
    if patch.cut_off and not patch.lines and not patch.contents.lstrip().startswith(b"{"):
        raise DataError(f"{path} is no label patch: its first line is no JSON object. Name another file.")
    return patch if patch.contents else replace(patch, cut_off=(f"Note: {path} is empty, so it has no fixes.",))


def add_fixes(
    path: str | Path, data: ImageSet, new_labels: Mapping[str, str], *, by: str | None = None, note: str = ""
) -> list[Fix]:
    """Append fixes to a patch file, which is created if it does not exist. Returns the appended lines.

    new_labels: hash of an image -> the name of its correct class. A hash may be abbreviated if it stays unique. Images
                that already have this label, in the data or by the patch, get no line.
    Raises DataError: no such image or class in the data; the message lists every problem, and nothing is appended.
    """
    labels: dict[str, list[str]] = {}  # several if copies of an image have different labels
    for split in data.splits.values():
        for image, label in zip(image_hashes(split.images), split.labels, strict=True):
            labels.setdefault(image, []).append(data.class_names[label])
    problems, wanted = [], {}
    for given, new in new_labels.items():
        images = [given] if given in labels else [i for i in labels if given and i.startswith(given)]
        if len(images) != 1:
            problems.append(f"{given[:SHOWN]} is the hash of {'no image' if not images else f'{len(images)} images'}")
        elif new not in data.class_names:
            problems.append(f"{given[:SHOWN]}: {new!r} is not a class.{nearest(new, data.class_names)}")
        else:
            wanted[images[0]] = new
    if problems:
        raise DataError(
            f"Nothing was added to {path}. These fixes for {data.name} (classes {', '.join(data.class_names)}) "
            "are not possible:\n" + "\n".join(f"  {p}" for p in problems)
        )

    def lines(patch: LabelPatch) -> list[Fix]:
        made = []
        for image, new in wanted.items():
            now = [patch.fixes[image].new] if image in patch.fixes else labels[image]
            made += [Fix(image, old, new) for old in now if old != new][:1]
        return made

    return append_lines(path, lines, by=by, note=note)


def revert_fixes(path: str | Path, images: Sequence[str], *, by: str | None = None, note: str = "") -> list[Fix]:
    """Undo the fixes of these images by appending a line for each. Returns the appended lines.

    images: hashes, which may be abbreviated.
    Raises DataError: the patch has no active fix for one of them; nothing is appended.
    """
    if not Path(path).expanduser().is_file():
        raise DataError(f"There is no patch {path}. Give the path of an existing one.")

    def lines(patch: LabelPatch) -> list[Fix]:
        reverted, problems = {}, []
        for given in images:
            found = [i for i in patch.fixes if given and i.startswith(given)]
            if len(found) == 1:
                reverted[found[0]] = Fix(found[0], patch.fixes[found[0]].new, patch.fixes[found[0]].old)
            else:
                problems.append(f"{given[:SHOWN]} {'(no active fix)' if not found else f'({len(found)} fixes)'}")
        if problems:
            raise DataError(
                f"{path} does not have exactly one fix for {', '.join(problems)}. Nothing was reverted."
                " `misread labels show` lists the fixes."
            )
        return list(reverted.values())

    return append_lines(path, lines, by=by, note=note)


@dataclass(frozen=True)
class Conflict:
    """An image with different labels in several patches. fixes: (patch file, its last line for the image)."""

    image: str
    fixes: tuple[tuple[str, Fix], ...]


def merge_patches(patches: Sequence[LabelPatch]) -> tuple[tuple[Fix, ...], tuple[Conflict, ...]]:
    """Every line of the patches once, and the conflicts between them.

    If a patch has all lines of another patch for an image and more, it continues the other one, and it alone counts.
    Otherwise, patches that end in different labels for an image are in conflict.
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
    for image, by_patch in histories.items():
        latest = [(w, h) for w, h in by_patch if not any(Counter(h) < Counter(other) for _, other in by_patch)]
        if len({h[-1].new for _, h in latest}) > 1:
            conflicts.append(Conflict(image, tuple((w, h[-1]) for w, h in latest)))
        last = latest[-1][1]
        merged += dict.fromkeys(line for _, h in by_patch for line in h if line not in last)
        merged += last
    return tuple(merged), tuple(conflicts)


def write_patch(path: str | Path, lines: Sequence[Fix]) -> None:
    """Write a new patch file atomically. Raises DataError: the file exists, or it cannot be written."""
    path = Path(path).expanduser()
    if path.exists():
        raise DataError(f"{path} already exists. Give the path of a new file.")
    try:
        write_text(path, "".join(line.line() for line in lines))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from None


def append_lines(
    path: str | Path, lines_for: Callable[[LabelPatch], Sequence[Fix]], *, by: str | None = None, note: str = ""
) -> list[Fix]:
    """Append lines to a patch file, which is created if it does not exist. Returns the appended lines.

    lines_for: makes the lines from the current patch. The file is locked, so concurrent writers wait for each other.
    by:        who made the fixes; by default the user's name.
    Raises DataError: the file cannot be written or holds lines that are no fixes; nothing is appended.
    """
    path = Path(path).expanduser()
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        with path.open("a+b", buffering=0) as file, locked(file):
            file.seek(0)
            before = file.read()
            lines = [
                replace(line, by=_user() if by is None else by, at=now, note=note)
                for line in lines_for(_parse(before, str(path)))
            ]
            text = "".join(line.line() for line in lines).encode()
            if text and before and not before.endswith(b"\n"):
                text = b"\n" + text  # an incomplete line stays separate
            if file.write(text) != len(text):
                file.truncate(len(before))  # remove the incomplete line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"The patch {path} cannot be written: {error.strerror}.") from None
    return lines


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
        if len(raw) > LONGEST_LINE:
            raise DataError(
                f"line {number} of {where} has {len(raw):,} bytes, which is no fix. Is it the file that you mean?"
            )
        try:
            values = json.loads(raw.decode())
        except ValueError:  # also if a multi-byte character is incomplete
            cut_off.append(
                f"Note: line {number} of {where} is incomplete and ignored: {raw[:60].decode(errors='replace')}"
            )
            continue
        lines.append(_as_fix(values, f"line {number} of {where}"))
    return LabelPatch(tuple(lines), tuple(cut_off), contents, where)


def _check(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, ensure_ascii=False).encode(errors="replace")).hexdigest()[:CHECK_DIGITS]


def _as_fix(values: object, where: str) -> Fix:
    if not isinstance(values, dict):
        raise DataError(
            f"{where} is not a fix but {type(values).__name__}. Each line must be an object with image, old and new."
        )
    if CHECK in values and values[CHECK] != (right := _check({k: v for k, v in values.items() if k != CHECK})):
        raise DataError(
            f"{where} is damaged: its check is {values[CHECK]!r}, but that of its values is {right!r}.\n"
            "Restore the file. If you changed the line yourself, remove its check."
        )
    known = {f.name: values[f.name] for f in fields(Fix) if f.name in values}
    missing = [name for name in ("image", "old", "new") if name not in known]
    wrong = [name for name, value in known.items() if not isinstance(value, str)]
    if missing or wrong:
        problems = [f"{name} is missing" for name in missing] + [f"{name} is not text" for name in wrong]
        raise DataError(f"{where} is not a fix: {'; '.join(problems)}.")
    if not HASH.fullmatch(known["image"]):
        raise DataError(f"{where} is not a fix: image is {known['image']!r}, not 64 hex digits.")
    return Fix(**known)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
