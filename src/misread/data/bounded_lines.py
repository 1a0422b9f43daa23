"""Lines of a text file that may be hostile: one that is very long is refused before it is read as a whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from misread.errors import DataError

LONGEST_LINE = 2**25  # characters: an image of 1500x1500 in colour, as text


def bounded_lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of an open file. Raises DataError: one is longer than `LONGEST_LINE`. path: for the message."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise DataError(
                f"{path}, line {number} has more than {LONGEST_LINE:,} characters. Is it the file that you mean?"
            )
        yield line
