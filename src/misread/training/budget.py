"""The length of a training: a number of epochs, or a number of seconds."""

from misread.training.optimizers import learning_rate_factor
from misread.training.recipe import Recipe
from misread.training.session import TrainState
from misread.training.weight_averaging import steps_until, update_steps

TICK_SECONDS = 0.1  # between two events: smooth progress at negligible cost
SCHEDULE_POINTS = 10_000  # resolution of the schedule if the length is in seconds


class Budget:
    """Decides when a training ends, the learning rate of each step, and the number of steps before the next event.

    If the recipe has `seconds`, the schedule follows the training time, not the number of steps.
    tick_seconds: training time between two events; 0 gives an event for each step.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, tick_seconds: float | None = None) -> None:
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        self.tick_seconds = TICK_SECONDS if tick_seconds is None else tick_seconds
        self.seconds_per_step = 0.0
        self._tick_steps = 1
        self._steps = recipe.epochs * steps_per_epoch
        self._averaging = update_steps(recipe.weight_averaging, self._steps)

    def spent(self, state: TrainState) -> bool:
        """Whether the member's training is complete. Call it between two epochs."""
        if self.recipe.seconds is not None:
            return self._out_of_seconds(state)
        return state.epoch >= self.recipe.epochs

    def epoch_over(self, state: TrainState) -> bool:
        """Whether the epoch is complete, or the seconds are used up."""
        out_of_time = self.recipe.seconds is not None and state.step > 0 and self._out_of_seconds(state)
        return out_of_time or state.step >= self.steps_per_epoch

    def _out_of_seconds(self, state: TrainState) -> bool:
        assert self.recipe.seconds is not None
        return state.clock.fit_seconds + self.seconds_per_step > self.recipe.seconds

    def next_steps(self, state: TrainState) -> int:
        """The number of steps before the next event.

        At most to the end of the epoch, to the next weight averaging, or to the next image scale.
        """
        if state.single_steps:
            return 1
        left = self.steps_per_epoch - state.step
        if self.recipe.seconds is not None:
            return min(self._tick_steps, left)
        until_update = steps_until(self._averaging, self._steps_taken(state)) or left
        parts = len(self.recipe.image_scales)
        until_scale = -(-(self._part(state) + 1) * self._steps // parts) - self._steps_taken(state)
        return min(self._tick_steps, left, until_update, until_scale)

    def image_scale(self, state: TrainState) -> float:
        """The share of their side to which the images of the next steps are resized."""
        return self.recipe.image_scales[self._part(state)]

    def _part(self, state: TrainState) -> int:
        """The part of the training that the next step is in: as many equal parts as there are image scales."""
        parts = len(self.recipe.image_scales)
        if self.recipe.seconds is not None:
            return min(int(parts * state.clock.fit_seconds / self.recipe.seconds), parts - 1)
        return min(parts * self._steps_taken(state) // self._steps, parts - 1)

    def rates(self, state: TrainState, count: int) -> list[float]:
        """The learning rates of the next `count` steps: by the schedule, and by the changes that the user made."""
        first, steps = self._steps_taken(state), self._steps
        positions = list(range(first, first + count))
        if self.recipe.seconds is not None:
            seconds = [state.clock.fit_seconds + i * self.seconds_per_step for i in range(count)]
            steps = SCHEDULE_POINTS + 1
            positions = [round(SCHEDULE_POINTS * min(s / self.recipe.seconds, 1.0)) for s in seconds]
        rate = self.recipe.optimizer.learning_rate
        return [
            rate * learning_rate_factor(self.recipe.schedule, position, steps) * state.rate_factor(ahead)
            for ahead, position in enumerate(positions)
        ]

    def average_due(self, state: TrainState) -> bool:
        """Whether the current weights belong to the weight average."""
        if self.recipe.seconds is not None:
            averaging = self.recipe.weight_averaging
            return averaging is not None and state.clock.fit_seconds >= (1 - averaging.last) * self.recipe.seconds
        return self._steps_taken(state) in self._averaging

    def measure(self, steps: int, seconds: float) -> None:
        """Record how long the last steps took, and set the number of the next steps to fill one tick.

        This number grows by a factor of four at most, because the first steps are slower than the others.
        """
        self.seconds_per_step = seconds / steps
        self._tick_steps = max(1, min(4 * steps, round(steps * self.tick_seconds / max(seconds, 1e-6))))

    def epochs(self, state: TrainState) -> int:
        """The total number of epochs. If the length is in seconds it is an estimate, never below the current epoch."""
        if self.recipe.seconds is None:
            return max(self.recipe.members * self.recipe.epochs, len(state.history))
        current = state.epoch + (state.step > 0)
        if not self.seconds_per_step:
            return max(self.recipe.epochs, current)
        return max(current, -int(-self.recipe.seconds // (self.seconds_per_step * self.steps_per_epoch)))

    def _steps_taken(self, state: TrainState) -> int:
        return state.epoch * self.steps_per_epoch + state.step
