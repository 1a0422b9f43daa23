"""After which steps the weights enter their average."""

from bisect import bisect_right

from misread.training.recipe import WeightAveraging

UPDATES = 50  # enough that more change nothing, few enough to cost nothing


def update_steps(spec: WeightAveraging | None, steps: int) -> range:
    """The steps of a training, counted from 1, after which its weights enter the average. The last step is one."""
    if spec is None:
        return range(0)
    last = max(1, round(spec.last * steps))
    every = max(1, last // UPDATES)
    return range(steps - (last - 1) // every * every, steps + 1, every)


def steps_until(updates: range, done: int) -> int | None:
    """How many steps after `done` steps the next update is due; None after the last."""
    after = bisect_right(updates, done)
    return updates[after] - done if after < len(updates) else None
