"""Tasks for tests of a Ray cluster. This module imports little, so that processes start soon."""

import os
from typing import Any


def kill_or_double(task: Any, report: Any) -> Any:
    """Twice a number; or ends its process, or raises."""
    if task == "kill":
        os._exit(1)
    if task == "raise":
        raise KeyError("no double")
    return 2 * task


def where(task: Any, report: Any) -> tuple[str, str | None, float]:
    """The working folder, the cache, and the cores that Ray reserved."""
    import ray

    return os.getcwd(), os.environ.get("MISREAD_CACHE"), ray.get_runtime_context().get_assigned_resources()["CPU"]
