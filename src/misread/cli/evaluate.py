"""`misread evaluate`."""

from typing import Annotated

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines
from misread.cli.runs import find_run


def evaluate(
    run: options.RunFolder,
    data: Annotated[
        str | None, typer.Argument(help="Other data; the run's own by default.", show_default=False)
    ] = None,
    split: options.Split = "test",
    labels: options.Labels = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Loss, accuracy with its 95% interval, and how many images were misread."""
    from misread.runs.run import open_run

    opened = open_run(find_run(run), device=device)
    result = opened.evaluate(data, split, labels)
    if json:
        print_json(result)
        return
    own = opened.record.data
    other = result["data"]
    lines = [f"{opened.record.recipe} on {other['name']}, split {result['split']}"]
    if not other["same"]:
        lines.append(
            f"Note: this is not the data of the run ({own.name}, fingerprint {own.fingerprint[:12]}) but other data "
            f"(fingerprint {other['fingerprint'][:12]})."
        )
    if split == "train" and other["same"]:
        lines.append("Note: the run was trained on these images; the accuracy says nothing of new ones.")
    lines += [
        f"Loss      {result['loss']:.4f}",
        f"Accuracy  {result['accuracy']:.2%}  (95% interval {result['accuracy_low']:.2%} to "
        f"{result['accuracy_high']:.2%})",
    ]
    lines += [f"Top-{key.split('_')[1]}     {value:.2%}" for key, value in result.items() if key.startswith("top_")]
    lines.append(f"Misread   {result['misread']:,} of {result['n']:,}")
    if labels:
        from misread.progress import accuracy_line

        lines += ["", f"On the fixed labels: {accuracy_line(result['fixed'])}", *result["label_patch"]["notes"]]
    print_lines(*lines)
