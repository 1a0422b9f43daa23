"""The errors of misread. Each message says what was wrong, where, and what to do.

`exit_code` is the exit code of the command line: 2 if the user can fix the problem, 1 for other failures.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class MisreadError(Exception):
    """Base class of all errors of misread."""

    exit_code = 2


class DataError(MisreadError):
    """Images or labels that cannot be used."""


class ArrayError(DataError, ValueError):
    """Arrays that an estimator cannot use. It is a ValueError too, as scikit-learn's tools expect."""


class DownloadError(DataError):
    """A named data set that could not be downloaded."""


class RecipeError(MisreadError):
    """A recipe, setting or device that cannot be used for training."""


class RunError(MisreadError):
    """A run folder that cannot be written, read, or used for this purpose."""


class TrainingError(MisreadError):
    """A training that failed: its loss is no longer finite."""

    exit_code = 1


class ExportError(MisreadError):
    """An exported file that does not predict what its run predicts."""

    exit_code = 1


@contextmanager
def needing(extra: str, what: str, kind: type[MisreadError] = RunError) -> Iterator[None]:
    """For a block that imports packages of an extra, which `what` needs.

    Raises `kind`: a package is missing. The message names it and says how to install it.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or extra).partition(".")[0]
        raise kind(f"{what} needs {package}. Install it: pip install 'misread[{extra}]'") from None
