"""`misread labels shards DIR`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines, print_table, write_file

if TYPE_CHECKING:
    from misread.scale.label_stats import Image, LabelStats


def shards(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of misread predict, with --probabilities.")],
    method: Annotated[
        str, typer.Option(help="normalised-margin, self-confidence or confident-learning.")
    ] = "normalised-margin",
    top: Annotated[int, typer.Option(min=1, help="The length of each list.")] = 100,
    workers: Annotated[
        int | None, typer.Option(help="Local processes; by default the number of cores.", show_default=False)
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the most doubtful there.", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """List the most doubtful labels and the most confident mistakes of predicted shards."""
    from misread.scale.label_stats import label_stats

    found = label_stats(folder, method, top, options.processes(workers))
    if csv is not None:
        write_file(csv, lambda path: _write(path, found.doubtful))
    if json:
        print_json(_as_json(found))
    else:
        _print(found, csv)


def _values(image: "Image") -> dict[str, Any]:
    return {name: value for name, value in image._asdict().items() if name != "order"}


def _as_json(found: "LabelStats") -> dict[str, Any]:
    return {
        "images": found.images,
        "others": found.others,
        "class_names": list(found.class_names),
        "confusion": found.confusion.tolist(),
        "confident_joint": found.joint.tolist(),
        "doubtful": [_values(image) for image in found.doubtful],
        "mistakes": [_values(image) for image in found.mistakes],
    }


def _write(path: Path, images: list["Image"]) -> None:
    import pandas as pd

    from misread.cli.output import as_text

    table = pd.DataFrame([_values(image) for image in images])
    for column in ("shard", "key", "label", "prediction", "suggested"):
        if column in table:
            table[column] = [as_text(cell) for cell in table[column]]
    table.to_csv(path, index=False)


def _print(found: "LabelStats", csv: Path | None) -> None:
    wrong = int(found.confusion.sum() - found.confusion.trace())
    flagged = int(found.joint.sum() - found.joint.trace())
    print_lines(
        f"{found.images:,} images with a label, {wrong:,} of them misread ({wrong / max(found.images, 1):.2%}); "
        f"{found.others:,} others",
        f"Labels that confident learning calls wrong: {flagged:,}",
    )
    for title, images in (("Most doubtful labels", found.doubtful), ("Most confident mistakes", found.mistakes)):
        print_lines("", f"{title}: the first {min(10, len(images))} of {len(images):,}")
        print_table(
            ["Shard", "Row", "Key", "Label", "Suggested", "Margin", "Flagged"],
            [[i.shard, i.row, i.key, i.label, i.suggested, f"{i.margin:.3f}", "yes" if i.flagged else ""]
             for i in images[:10]],
            right=(1, 5),
        )  # fmt: skip
    if csv is not None:
        print_lines("", f"Table: {csv}, {len(found.doubtful):,} images")
