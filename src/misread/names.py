"""The nearest known spelling of an unknown name."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` if a known name is similar to `name`, else an empty string."""
    close = get_close_matches(name.lower(), [str(k) for k in known], n=1, cutoff=0.55)
    return f" Did you mean {close[0]!r}?" if close else ""
