"""The errors misread raises on purpose: each message says what was wrong, where, and what to do.

`exit_code` is what the command line returns: 2 for what the user can mend, 1 for a failure on the way.
"""


class MisreadError(Exception):
    """Base of all errors that misread raises on purpose."""

    exit_code = 2


class DataError(MisreadError):
    """Images or labels that cannot be used as they are."""


class DownloadError(DataError):
    """A named data set that could be had from nowhere."""


class RecipeError(MisreadError):
    """A recipe that does not say a training that can be done."""


class RunError(MisreadError):
    """A run folder that cannot be written, read, or used for what was asked."""


class TrainingError(MisreadError):
    """A training that broke on the way: its loss is no longer finite."""

    exit_code = 1
