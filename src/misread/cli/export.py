"""`misread export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines, warn
from misread.cli.runs import find_run

if TYPE_CHECKING:
    from misread.lab.export import Export


def export(
    run: options.RunFolder,
    to: Annotated[str, typer.Option(help="onnx, torch, safetensors or keras.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="The folder to write to; RUN/export by default.", show_default=False)
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Also write an ONNX file of 8-bit numbers.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(help="The largest difference of a probability that is allowed; 0.0001 by default.",
                     show_default=False),
    ] = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Write a file for other programs: ONNX, PyTorch or Keras.

    It must first predict the whole test split as the run did.
    """
    from misread.lab.export import export as write
    from misread.runs.run import open_run

    opened = open_run(find_run(run), device="cpu")
    exports = write(opened, to, out, int8=int8, tolerance=tolerance, progress=None if quiet else warn)
    if json:
        print_json([each.to_dict() for each in exports])
        return
    for each in exports:
        print_lines(*_lines(each))


def _lines(export: "Export") -> list[str]:
    compared = "" if export.stored else " (made again by the network: the run folder has no predictions)"
    size = f"{export.path} ({export.size_bytes / 1e6:.2f} MB)"
    return [size, f"  {export.replay}{compared}", f"  allowed: {export.limits}"]
