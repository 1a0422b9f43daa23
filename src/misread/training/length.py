"""How long a training is: so many epochs, or so many seconds."""

from misread.training.optimizers import learning_rate_factor
from misread.training.recipe import Recipe

TICK_SECONDS = 0.1  # between two progress events: what the eye can follow, and seldom enough to cost nothing
POINTS = 10_000  # of the schedule, where seconds decide how many steps there are


class Length:
    """Where a training stands on its way to its end.

    With the recipe's `seconds` the schedule follows the clock: it ends when they are over, however many steps the
    machine took by then. The clock is the training's own; the caller says how much of it has run.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        self.seconds_per_step = 0.0
        self.next_part = 1  # steps to take before looking up

    def rates(self, first: int, count: int, seconds: float) -> list[float]:
        """The learning rates of the next `count` steps, the first of which is step `first` of all (0-based)."""
        steps, at = self.recipe.epochs * self.steps_per_epoch, range(first, first + count)
        if self.recipe.seconds is not None:
            done = [(seconds + i * self.seconds_per_step) / self.recipe.seconds for i in range(count)]
            steps, at = POINTS + 1, [round(POINTS * min(share, 1.0)) for share in done]  # type: ignore[assignment]
        rate = self.recipe.optimizer.learning_rate
        return [rate * learning_rate_factor(self.recipe.schedule, step, steps) for step in at]

    def took(self, steps: int, seconds: float) -> None:
        """So long the last steps took; as many as fill a tick come next, growing slowly: the first are no measure."""
        self.seconds_per_step = seconds / steps
        self.next_part = max(1, min(4 * steps, round(steps * TICK_SECONDS / max(seconds, 1e-6))))

    def over(self, epoch: int, seconds: float) -> bool:
        """Whether the training is at its end, after `epoch` epochs or inside the next one."""
        if self.recipe.seconds is not None:
            return seconds + self.seconds_per_step > self.recipe.seconds
        return epoch >= self.recipe.epochs

    def epochs(self, epoch: int) -> int:
        """How many epochs there will be; for seconds a forecast, never below the present one."""
        if self.recipe.seconds is None or not self.seconds_per_step:
            return max(self.recipe.epochs, epoch)
        return max(epoch, -int(-self.recipe.seconds // (self.seconds_per_step * self.steps_per_epoch)))
