"""The nearest right spelling of a name that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` when a known name is near to `name`, else an empty string."""
    close = get_close_matches(name.lower(), [str(k) for k in known], n=1, cutoff=0.55)
    return f" Did you mean {close[0]!r}?" if close else ""
