"""Decisions on labels: what a reviewer said of each image, kept in a label patch.

kind: `fixed`     the label is wrong; the line has the right one.
      `ambiguous` the image is of several classes, or of none.
      `kept`      the label is right; the network was wrong.
      `skipped`   looked at and left open.
      empty       no decision, or one that was taken back.
Only `fixed` changes a label. The others are lines of the patch whose `new` is the label of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from misread.data.label_patch import Fix, LabelPatch, append_lines
from misread.errors import DataError
from misread.names import nearest

FIXED, AMBIGUOUS, KEPT, SKIPPED, NONE = "fixed", "ambiguous", "kept", "skipped", ""
KINDS = (FIXED, AMBIGUOUS, KEPT, SKIPPED)


@dataclass(frozen=True)
class Decision:
    """The decision on an image that counts now.

    label:   the name of its class by this decision. by, at: as in `Fix`.
    version: how many lines the patch has for this image; 0 without a decision.
    """

    kind: str
    label: str
    by: str = ""
    at: str = ""
    version: int = 0


@dataclass(frozen=True)
class Wish:
    """A decision to write.

    image: its hash. old: the name of its class in the data. label: of its class by the decision; only for `fixed`.
    seen:  the version that the reviewer saw. None writes in any case.
    """

    image: str
    old: str
    kind: str
    label: str = ""
    seen: int | None = None


def decisions(patch: LabelPatch) -> dict[str, Decision]:
    """The decision on every image that the patch has a line for."""
    found: dict[str, Decision] = {}
    first: dict[str, str] = {}
    for line in patch.lines:
        old = first.setdefault(line.image, line.old)
        version = found[line.image].version + 1 if line.image in found else 1
        kind = FIXED if line.new != old else line.decision if line.decision in KINDS else NONE
        found[line.image] = Decision(kind, line.new, line.by, line.at, version)
    return found


def decide(
    path: str | Path, wishes: Sequence[Wish], class_names: Sequence[str], *, by: str | None = None
) -> tuple[dict[str, Decision], dict[str, Decision]]:
    """Append decisions to a patch file. Returns those that count now, and the conflicts, both by image.

    A wish is a conflict, and is not written, if the image has another decision that the reviewer has not seen.
    Raises DataError: an unknown kind or class; the message lists every problem, and nothing is appended.
    """
    problems = [problem for wish in wishes for problem in _problems(wish, class_names)]
    if problems:
        raise DataError(f"Nothing was added to {path}:\n" + "\n".join(f"  {problem}" for problem in problems))
    written: dict[str, Decision] = {}
    conflicts: dict[str, Decision] = {}

    def lines(patch: LabelPatch) -> list[Fix]:
        now = decisions(patch)
        first = {line.image: line.old for line in reversed(patch.lines)}
        made = []
        for wish in wishes:
            old = first.get(wish.image, wish.old)
            label = wish.label if wish.kind == FIXED else old
            current = now.get(wish.image, Decision(NONE, old))
            if (current.kind, current.label) == (wish.kind, label):
                written[wish.image] = current
            elif wish.seen is not None and wish.seen != current.version:
                conflicts[wish.image] = current
            else:
                made.append(Fix(wish.image, current.label, label, decision="" if wish.kind == FIXED else wish.kind))
                now[wish.image] = written[wish.image] = Decision(wish.kind, label, version=current.version + 1)
        return made

    for line in append_lines(path, lines, by=by):
        decided = written[line.image]
        written[line.image] = Decision(decided.kind, decided.label, line.by, line.at, decided.version)
    return written, conflicts


def _problems(wish: Wish, class_names: Sequence[str]) -> list[str]:
    if wish.kind not in (*KINDS, NONE):
        return [f"{wish.kind!r} is no decision. Known: {', '.join(KINDS)}, or empty to take one back."]
    if wish.kind == FIXED and wish.label not in class_names:
        return [f"{wish.label!r} is not a class.{nearest(wish.label, class_names)}"]
    if wish.kind == FIXED and wish.label == wish.old:
        return [f"{wish.label!r} is the label already. Keep it with {KEPT!r}."]
    return []
