"""`misread labels DATA`; its other verbs are in label_fixes.py and label_shards.py."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from misread.cli import label_fixes, label_shards, options
from misread.cli.label_fixes import Png, short_hash
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
        "hash": [short_hash(v) for v in shown["hash"]],
    }
    present = {name: values for name, values in columns.items() if values is not None}
    numbers = [i for i, name in enumerate(present) if name in ("index", "self_confidence", "margin")]
    print_table([*present], zip(*present.values(), strict=True), right=numbers)


def _fixed(image_set: "ImageSet", label_patch: Path) -> "ImageSet":
    from misread.data.label_patch import read_patch

    fixed = read_patch(label_patch).fix(image_set)
    warn(*fixed.messages())
    return fixed.data


for verb in (label_fixes.apply, label_fixes.revert, label_fixes.merge, label_fixes.show, label_shards.shards):
    app.command()(verb)
