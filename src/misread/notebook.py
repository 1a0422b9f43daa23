"""Detecting a notebook, and showing objects in it."""

import sys
from typing import Any


def in_notebook() -> bool:
    """True inside a Jupyter kernel. Does not import IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def display_in_notebook(thing: Any) -> bool:
    """Show an object below the cell. Returns False, and does nothing, outside a notebook."""
    if not in_notebook():
        return False
    from IPython.display import display

    display(thing)
    return True
