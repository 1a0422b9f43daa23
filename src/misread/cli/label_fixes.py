"""`misread labels apply|revert|merge|show`: the fixes in a patch file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.load_data import load_data
from misread.cli.output import check_picture_name, print_json, print_lines, print_table, warn, write_file
from misread.errors import DataError

if TYPE_CHECKING:
    from misread.data.image_set import ImageSet
    from misread.data.label_patch import Fix, LabelPatch

Patch = Annotated[Path, typer.Argument(metavar="PATCH", help="A patch file, JSON lines.", show_default=False)]
By = Annotated[str | None, typer.Option(help="Who made the decision; by default your user name.", show_default=False)]
Note = Annotated[str, typer.Option(help="The reason.", show_default=False)]
Png = Annotated[Path | None, typer.Option(help="Write a picture to this file (PNG or SVG).", show_default=False)]


def apply(
    patch: Patch,
    data: options.Data,
    reviewed: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A reviewed table of labels (CSV or JSON) with the column new.", show_default=False
        ),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Use the suggested label if the column new is empty.")
    ] = False,
    fix: Annotated[
        list[str] | None, typer.Option(metavar="HASH=NEW", help="Fix one label; may be repeated.", show_default=False)
    ] = None,
    by: By = None,
    note: Note = "",
    size: options.Size = None,
    strict: options.Strict = False,
    json: options.Json = False,
) -> None:
    """Add fixes to a patch file. Images and their original labels are not changed."""
    from misread.data.label_patch import add_fixes, read_patch
    from misread.data.reviewed_labels import read_reviewed

    new_labels = read_reviewed(reviewed, accept) if reviewed else {}
    for text in fix or []:
        image, equals, new = text.partition("=")
        if not equals or not image or not new:
            raise DataError(f"The fix {text!r} is not of the form HASH=NEW, for example 3fa91c02=9.")
        new_labels[image.strip().lower()] = new.strip()
    if not new_labels:
        raise DataError("There is nothing to add. Use --from FILE or --fix HASH=NEW.")
    added = add_fixes(patch, load_data(data, True, size, strict), new_labels, by=by, note=note)
    unchanged = len(new_labels) - len(added)
    lines = [f"{len(added):,} added to {patch}" + (f"; {unchanged:,} already had this label" if unchanged else "")]
    _print_fixes(added, json, [*lines, *read_patch(patch).cut_off])


def revert(
    patch: Patch,
    hashes: Annotated[list[str], typer.Argument(metavar="HASH", help="Hashes of images; may be abbreviated.")],
    by: By = None,
    note: Note = "",
    json: options.Json = False,
) -> None:
    """Undo fixes by adding a line for each. The patch keeps its history."""
    from misread.data.label_patch import read_patch, revert_fixes

    added = revert_fixes(patch, [image.lower() for image in hashes], by=by, note=note)
    _print_fixes(added, json, [f"{len(added):,} reverted in {patch}", *read_patch(patch).cut_off])


def merge(
    patches: Annotated[list[Path], typer.Argument(metavar="PATCH", help="Two or more patch files.")],
    out: Annotated[Path, typer.Option(help="A new file for the merged patch.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Merge several patches into one. If they conflict, nothing is written, and the exit code is 1."""
    from misread.data.label_patch import merge_patches, read_patch, write_patch

    read = [read_patch(path) for path in patches]
    lines, conflicts = merge_patches(read)
    notes = [note for patch in read for note in patch.cut_off]
    if not conflicts:
        write_patch(out, lines)
    if json:
        listed = [
            {"hash": c.image, "fixes": [{"patch": where, **vars(fix)} for where, fix in c.fixes]} for c in conflicts
        ]
        print_json({"lines": len(lines), "out": None if conflicts else str(out), "conflicts": listed})
        warn(*notes)
    else:
        warn(*notes)
        for conflict in conflicts:
            labels = "; ".join(f"{where} says {fix.new}{_signed(fix)}" for where, fix in conflict.fixes)
            print_lines(f"Conflict: {short_hash(conflict.image)}: {labels}")
        if not conflicts:
            print_lines(f"{len(lines):,} lines of {len(read)} patches in {out}")
    if conflicts:
        warn(
            f"Error: the patches conflict for {len(conflicts)} image{'s' * (len(conflicts) > 1)}; nothing was "
            "written.\n"
            "Change one of them with misread labels apply or revert, until all agree."
        )
        sys.exit(1)


def show(
    patch: Patch,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="The data of the patch: adds the place of each image.", show_default=False),
    ] = None,
    png: Png = None,
    size: options.Size = None,
    strict: options.Strict = False,
    json: options.Json = False,
) -> None:
    """List the active fixes. With DATA, also show the place of each image, and draw a picture with --png."""
    from misread.data.label_patch import read_patch

    check_picture_name(png)
    if png and data is None:
        raise DataError("A picture needs the images. Add DATA: misread labels show PATCH DATA --png FILE.")
    read = read_patch(patch)
    undone = len({line.image for line in read.lines if line.new != line.old} - read.fixes.keys())
    lines = [f"{len(read.fixes):,} active in {patch}, {undone:,} undone; {len(read.lines):,} lines"]
    if data is None:
        _print_fixes(list(read.fixes.values()), json, [*lines, *read.cut_off])
        return
    image_set = load_data(data, True, size, strict)
    lines += read.fix(image_set).messages()
    rows, picture = _located(read, image_set)
    if png:
        write_file(png, picture().save)
        lines.append(f"Picture: {png}")
    _print_rows(rows, json, lines)


def _located(patch: "LabelPatch", image_set: "ImageSet") -> tuple[list[dict[str, Any]], Any]:
    """A row for every fixed image with its place, and a function that draws these images."""
    found = patch.find_in(image_set)
    rows = []
    for name, position, fix in found:
        split = image_set.splits[name]
        file = split.files[position] if split.files is not None else ""
        rows.append({"split": name, "index": int(split.rows[position]), "file": file, **_row(fix)})

    def picture() -> Any:
        import numpy as np
        import pandas as pd

        from misread.figures.label_issues import label_issues_figure

        table = pd.DataFrame(rows).rename(columns={"old": "label", "new": "suggested"})
        pixels = np.stack([image_set.splits[name].images[position] for name, position, _ in found])
        return label_issues_figure(table, pixels, f"{len(rows):,} labels of {image_set.name} fixed by {patch.where}")

    return rows, picture


def _print_fixes(fixes: list["Fix"], json: bool, lines: list[str]) -> None:
    _print_rows([_row(fix) for fix in fixes], json, lines)


def _row(fix: "Fix") -> dict[str, Any]:
    return {"hash": fix.image, "old": fix.old, "new": fix.new, "by": fix.by, "at": fix.at, "note": fix.note}


def _print_rows(rows: list[dict[str, Any]], json: bool, lines: list[str]) -> None:
    if json:
        print_json(rows)
        warn(*lines)
        return
    if rows:
        columns = [c for c in rows[0] if any(row[c] != "" for row in rows)]
        numbers = [i for i, c in enumerate(columns) if c == "index"]
        shown = [[short_hash(row[c]) if c == "hash" else row[c] for c in columns] for row in rows]
        print_table(columns, shown, right=numbers)
        print_lines("")
    print_lines(*lines)


def _signed(fix: "Fix") -> str:
    signature = ", ".join(part for part in (fix.by, fix.at, fix.note) if part)
    return f" ({signature})" if signature else ""


def short_hash(image: str) -> str:
    from misread.data.label_patch import SHOWN

    return image[:SHOWN]
