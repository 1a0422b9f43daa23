"""What the process of a training is told to do."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """What to train: the arguments of `misread.train`, or the folder of a training to `resume`.

    paused: begin with a pause, before the first step.
    """

    data: str = ""
    recipe: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    label_patch: str | None = None
    out: str = "runs"
    resume: str | None = None
    paused: bool = False
