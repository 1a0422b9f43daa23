"""`misread labels DATA`, and `misread labels apply|revert|merge|show`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from misread.cli import label_shards, options
from misread.cli.load_data import load_data
from misread.cli.output import (
    check_picture_name,
    console,
    print_json,
    print_lines,
    print_table,
    warn,
    write_file,
)
from misread.cli.runs import find_run
from misread.errors import DataError, RunError

if TYPE_CHECKING:
    from misread.analysis.label_issues import LabelIssues
    from misread.data.image_set import ImageSet
    from misread.data.label_patch import Fix, LabelPatch
    from misread.runs.held_out import HeldOut


class FindByDefault(TyperGroup):
    """`misread labels DATA` is short for `misread labels find DATA`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["find", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """As always, but a folder with the name of a verb may have been meant: then the error says how to name it."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            verb = ctx.invoked_subcommand
            if verb == "find" or not Path(verb).exists():
                raise
            hint = f"For the data in {verb}, write: misread labels ./{verb}"
            raise DataError(f"misread labels {verb}: {error.format_message()}\n{hint}") from None


app = typer.Typer(
    cls=FindByDefault,
    help="Find doubtful labels, and fix them in a patch file. "
    "misread labels DATA is short for misread labels find DATA.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Patch = Annotated[Path, typer.Argument(metavar="PATCH", help="A patch file, JSON lines.", show_default=False)]
By = Annotated[str | None, typer.Option(help="Who made the decision; by default your user name.", show_default=False)]
Note = Annotated[str, typer.Option(help="The reason.", show_default=False)]
Png = Annotated[Path | None, typer.Option(help="Write a picture to this file (PNG or SVG).", show_default=False)]


@app.command()
def find(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|RUN",
            help="A name or a path: trains networks in folds. Or a run: uses its network and its test split.",
            show_default=False,
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="train, test or all; for a run test or val.", show_default=False)
    ] = None,
    method: Annotated[
        str, typer.Option(help="normalised-margin, self-confidence or confident-learning.")
    ] = "normalised-margin",
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", help="The recipe; by default one that fits the data.", show_default=False),
    ] = None,
    set: options.Set = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds; by default 5.", show_default=False)] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="How many times to train, by default as often as takes a minute.", show_default=False),
    ] = None,
    filter: Annotated[
        bool | None,
        typer.Option(
            "--filter/--no-filter",
            help="Do not train on labels that look wrong to other networks; on by default.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The first seed.", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="The folder for predictions, which are reused.")] = Path("held-out"),
    labels: options.Labels = None,
    top: Annotated[int, typer.Option(min=1, help="Number of labels to print and to write as CSV.")] = 20,
    csv: Annotated[Path | None, typer.Option(help="Write them to this file for review.", show_default=False)] = None,
    png: Png = None,
    grid: Annotated[int, typer.Option(min=1, help="Number of images in the picture.")] = 20,
    size: options.Size = None,
    strict: options.Strict = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: options.Workers = 1,
    ray: options.Ray = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """List the most doubtful labels of a data set, found by networks that did not train on the images."""
    from misread.analysis.label_issues import check_method

    check_method(method)
    check_picture_name(png)
    if _is_run(data):
        arguments = {"recipe": recipe, "set": set, "folds": folds, "seeds": seeds, "filter": filter, "seed": seed,
                     "labels": labels, "workers": None if workers == 1 else workers, "ray": ray}  # fmt: skip
        _refuse_for_a_run(data, [f"--{name}" for name, value in arguments.items() if value is not None])
        (found, source), noise = _of_run(data, split, method, device), None
    else:
        from misread.runs.held_out import cross_val_predict
        from misread.runs.progress import FoldProgress

        does = options.trainers(workers, ray)
        image_set = load_data(data, quiet, size, strict)
        if labels:
            image_set = _fixed(image_set, labels)
        held_out = cross_val_predict(
            image_set, recipe, split=split or "train", folds=folds or 5, seeds=seeds,
            filter_labels=filter is not False, seed=seed, settings=set or [], out=out, device=device, threads=threads,
            workers=does, progress=FoldProgress(console(json)) if not quiet else False,
        )  # fmt: skip
        found, source, noise = held_out.label_issues(method), _of_seeds(held_out), held_out.noise
    shown = found.head(top)
    lines = [f"The {len(shown):,} most doubtful of {len(found):,} labels ({found.title})", *source]
    lines += _write_issues(found, shown, csv, png, grid)
    if json:
        print_json({"estimate": noise and noise.to_dict(), "labels": shown.to_dict("records")})
        warn(*lines)
    else:
        _print_issues(found, shown)
        print_lines("", *lines)


def _is_run(data: str) -> bool:
    from misread.runs.run_folder import RECORD

    return data == "last" or (find_run(Path(data)) / RECORD).is_file()


def _refuse_for_a_run(run: str, arguments: list[str]) -> None:
    if arguments:
        raise RunError(
            f"{run} is a run, which is not trained again. Leave out {', '.join(arguments)}, or give a data set instead."
        )


def _of_seeds(held_out: "HeldOut") -> list[str]:
    first, count = held_out.members[0], len(held_out.members)
    where = "from" if held_out.reused else "in"
    more = f" and of {count - 1} more seed{'s' * (count > 2)}" if count > 1 else ""
    accuracy = f"{held_out.metrics['accuracy']:.2%} of the held-out images were predicted as labelled"
    lines = [f"Predictions {where} {first.folder}{more}; {accuracy}"]
    if held_out.noise is None:
        return [*lines, "How many labels are wrong takes two seeds or more to estimate: use --seeds."]
    return [f"{held_out.noise}", *lines]


def _of_run(run: str, split: str | None, method: str, device: str) -> tuple["LabelIssues", list[str]]:
    from misread.runs.run import open_run

    opened = open_run(find_run(Path(run)), device=device)
    found = opened.label_issues(split or "test", method)
    flagged = f"{int(found['flagged'].sum()):,} are flagged"
    return found, [
        f"{flagged} by the network of {opened.folder}, which did not train on these images",
        "One network cannot tell how many labels are wrong: misread labels DATA estimates it from several.",
    ]


def _write_issues(
    found: "LabelIssues", shown: "LabelIssues", csv: Path | None, png: Path | None, grid: int
) -> list[str]:
    """Write the files that are asked for; returns a line for each."""
    written = []
    if csv:
        reviewed = shown.copy()
        reviewed.insert([*shown.columns].index("suggested") + 1, "new", "")
        write_file(csv, lambda path: reviewed.to_csv(path, index=False))
        written.append(f"Table: {csv}. Fill in the column new, then run: misread labels apply PATCH DATA --from {csv}")
    if png:
        write_file(png, found.gallery(grid).save)
        written.append(f"Picture: {png}")
    return written


def _print_issues(found: "LabelIssues", shown: "LabelIssues") -> None:
    """The table of those shown; columns that would say nothing about any label are left out."""
    columns = {
        "split": [*shown["split"]] if found["split"].nunique() > 1 else None,
        "index": [*shown["index"]],
        "file": [*shown["file"]] if found["file"].any() else None,
        "label": [*shown["label"]],
        "suggested": [*shown["suggested"]],
        "self_confidence": [f"{v:.4f}" for v in shown["self_confidence"]],
        "margin": [f"{v:.4f}" for v in shown["margin"]],
        "flagged": ["yes" if v else "no" for v in shown["flagged"]],
        "hash": [_short(v) for v in shown["hash"]],
    }
    present = {name: values for name, values in columns.items() if values is not None}
    numbers = [i for i, name in enumerate(present) if name in ("index", "self_confidence", "margin")]
    print_table([*present], zip(*present.values(), strict=True), right=numbers)


@app.command()
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


@app.command()
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


@app.command()
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
            print_lines(f"Conflict: {_short(conflict.image)}: {labels}")
        if not conflicts:
            print_lines(f"{len(lines):,} lines of {len(read)} patches in {out}")
    if conflicts:
        warn(
            f"Error: the patches conflict for {len(conflicts)} image{'s' * (len(conflicts) > 1)}; nothing was "
            "written.\n"
            "Change one of them with misread labels apply or revert, until all agree."
        )
        sys.exit(1)


@app.command()
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
        shown = [[_short(row[c]) if c == "hash" else row[c] for c in columns] for row in rows]
        print_table(columns, shown, right=numbers)
        print_lines("")
    print_lines(*lines)


def _signed(fix: "Fix") -> str:
    signature = ", ".join(part for part in (fix.by, fix.at, fix.note) if part)
    return f" ({signature})" if signature else ""


def _short(image: str) -> str:
    from misread.data.label_patch import SHOWN

    return image[:SHOWN]


def _fixed(image_set: "ImageSet", label_patch: Path) -> "ImageSet":
    from misread.data.label_patch import read_patch

    fixed = read_patch(label_patch).fix(image_set)
    warn(*fixed.messages())
    return fixed.data


app.command("shards")(label_shards.shards)
