"""The lookup of a DATA argument."""

from typing import TYPE_CHECKING

from misread.cli import options
from misread.cli.output import warn

if TYPE_CHECKING:
    from misread.data.image_set import ImageSet


def load_data(data: str, quiet: bool, size: str | None = None, strict: bool = False) -> "ImageSet":
    """The images of a name or a path. Progress and the files that were skipped are reported on stderr."""
    from misread.data.load import load

    images = load(data, size=options.parse_size(size), strict=strict, progress=None if quiet else warn)
    warn(*(f"Skipped: {line}" for line in images.skipped))
    return images
