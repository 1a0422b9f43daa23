"""Detects a notebook, and displays objects in it."""

import sys
from typing import Any


def in_notebook() -> bool:
    """True inside a Jupyter kernel. Does not import IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def display_in_notebook(value: Any) -> bool:
    """Display an object below the cell. Outside a notebook, do nothing and return False."""
    if not in_notebook():
        return False
    from IPython.display import display

    display(value)
    return True
