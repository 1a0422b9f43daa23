"""The steps after which the weight average is updated."""

from bisect import bisect_right

from misread.training.recipe import WeightAveraging

UPDATES = 50  # more do not change the result; these cost almost no time


def update_steps(spec: WeightAveraging | None, steps: int) -> range:
    """The steps, counted from 1, after which the weights are added to the average. They include the last step."""
    if spec is None:
        return range(0)
    last = max(1, round(spec.last * steps))
    every = max(1, last // UPDATES)
    return range(steps - (last - 1) // every * every, steps + 1, every)


def steps_until(updates: range, done: int) -> int | None:
    """The number of steps from `done` to the next update; None after the last update."""
    after = bisect_right(updates, done)
    return updates[after] - done if after < len(updates) else None
