"""`misread verify`."""

import sys

from misread.cli import options
from misread.cli.output import print_json, print_lines
from misread.cli.report import is_job
from misread.cli.runs import find_run


def verify(run: options.RunFolder, json: options.Json = False) -> None:
    """Compare every file of a run with its checksum. The exit code is 1 if one is damaged or missing.

    RUN may also be the folder of an export, or the --out of predicted shards.
    """
    folder = find_run(run)
    if is_job(folder):
        from misread.scale.run_job import verify_job

        found = verify_job(folder)
    else:
        from misread.runs.checksums import verify as compare

        found = compare(folder)
    if json:
        print_json(found.to_dict())
    else:
        lines = [f"Note: {note}" for note in found.notes] + [f"Damaged: {problem}" for problem in found.problems]
        total = f"{found.folder}: {found.checked} files compared, {len(found.problems)} damaged or missing."
        print_lines(*lines, total)
    if not found.intact:
        sys.exit(1)
