"""A task that does harm, for tests of a Ray cluster. It imports little, so that its processes start soon."""

import os
from typing import Any


def kill_or_double(task: Any, report: Any) -> Any:
    """Twice a number; or ends its process, or raises."""
    if task == "kill":
        os._exit(1)
    if task == "raise":
        raise KeyError("no double")
    return 2 * task
