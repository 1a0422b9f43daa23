"""`misread push`."""

from typing import TYPE_CHECKING, Annotated

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines, warn
from misread.cli.runs import find_run

if TYPE_CHECKING:
    from misread.lab.push import Push


def push(
    run: options.RunFolder,
    name: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository on the Hub.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="Only you may read the repository.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="A branch; the main branch by default.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be uploaded, and upload nothing.")
    ] = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Upload a run to the Hugging Face Hub. hf://USER/NAME then opens it."""
    from misread.lab.push import push as upload
    from misread.runs.run import open_run

    opened = open_run(find_run(run), device="cpu")
    done = upload(
        opened, name, private=private, revision=revision, dry_run=dry_run,
        before=lambda planned: None if quiet else warn(*_lines(planned)),
    )  # fmt: skip
    if json:
        print_json(done.to_dict())
    elif not dry_run:
        print_lines(done.url, f"To open it: misread evaluate {done.address}")


def _lines(planned: "Push") -> list[str]:
    who = "only you may read them" if planned.private else "everybody may read them if the repository is public"
    listed = [f"  {name:24} {size:>12,} bytes" for name, size in planned.files.items()]
    return [f"{planned.address}: {len(listed)} files, {planned.size_bytes / 1e6:,.2f} MB; {who}", *listed]
