"""Whether a notebook is showing what we print, and putting a thing into it."""

import sys
from typing import Any


def in_notebook() -> bool:
    """True inside a Jupyter kernel. Costs nothing where IPython was never imported."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def display_in_notebook(thing: Any) -> bool:
    """Show a thing below the cell; False where there is no notebook."""
    if not in_notebook():
        return False
    from IPython.display import display

    display(thing)
    return True
