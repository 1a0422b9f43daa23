"""Training steps on a CUDA device, recorded once as a graph and then replayed.

A step of a small network launches dozens of kernels that take a few microseconds each; the launches take longer than
the kernels. A graph launches all of them at once. https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from misread.training.batches import Batch

WARM_UP_STEPS = 3  # taken one by one before the recording: libraries allocate and choose algorithms in the first steps
CHUNK_STEPS = 64  # steps whose inputs are copied to the graph at once

# (images (B, H, W, C) uint8, labels (B,) int64, learning rate (), number of the step counted from 1 ()) -> loss (),
# correct (). It updates the weights.
TakeStep = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class GraphedSteps:
    """Takes full batches by replaying a graph, and short batches and the first steps one by one.

    A graph is recorded again if the size of the images changes, and in each window of resident images.

    take_step: takes one step with tensors on `device` alone, and synchronises nothing.
    seed_step: seeds the device's random numbers for the step of this number, counted from 0.
    resident:  all batches of a window have the same `images` and `labels`, so the graph can read them where they are.
    """

    def __init__(
        self, take_step: TakeStep, seed_step: Callable[[int], None], device: torch.device, resident: bool
    ) -> None:
        self._take_step, self._seed_step, self._device, self._resident = take_step, seed_step, device, resident
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._image_shape = torch.Size()
        self._warm_up_left = 0
        self.problem = ""  # why no graph could be recorded; then all steps are taken one by one

    def take(self, batch: Batch, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """The steps of a batch: their losses (S,) float32 and the number of correct predictions (), on the device."""
        if self._resident and self._graph is not None and self._images is not batch.images:
            del self._images, self._labels, self._graph  # the memory of the last window
            self._graph = None
        if batch.images.shape[1:] != self._image_shape:
            self._image_shape, self._warm_up_left, self._graph = batch.images.shape[1:], WARM_UP_STEPS, None
        losses = torch.zeros(len(rates), device=self._device)
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            done = 0
            while done < len(rates):
                full = (len(batch.rows) - done * batch.size) // batch.size
                if full and not self._warm_up_left and self._has_graph(batch):
                    taken = min(full, CHUNK_STEPS)
                    self._replay(batch, rates, done, taken, losses, correct)
                else:
                    taken = 1
                    self._take_alone(batch, rates, done, losses, correct)
                    self._warm_up_left = max(self._warm_up_left - 1, 0)
                done += taken
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return losses, correct

    def _take_alone(self, batch: Batch, rates: Sequence[float], step: int, losses: Tensor, correct: Tensor) -> None:
        rows = batch.rows[step * batch.size : (step + 1) * batch.size]
        number = batch.first_step + step
        self._seed_step(number)
        loss, right = self._take_step(
            batch.images[rows], batch.labels[rows], self._scalar(rates[step]), self._scalar(float(number + 1))
        )
        losses[step] = loss
        correct += right

    def _scalar(self, value: float) -> Tensor:
        return torch.full((), value, device=self._device)

    def _replay(
        self, batch: Batch, rates: Sequence[float], first: int, steps: int, losses: Tensor, correct: Tensor
    ) -> None:
        assert self._graph is not None
        rows = batch.rows[first * batch.size : (first + steps) * batch.size]
        if self._resident:
            self._rows[: len(rows)] = rows
        else:
            torch.index_select(batch.images, 0, rows, out=self._images[: len(rows)])
            torch.index_select(batch.labels, 0, rows, out=self._labels[: len(rows)])
        self._rates[:steps] = torch.tensor(rates[first : first + steps])
        self._done.zero_()
        self._number.fill_(batch.first_step + first)
        self._correct.zero_()
        for step in range(first, first + steps):
            self._seed_step(batch.first_step + step)
            self._graph.replay()
        losses[first : first + steps] = self._losses[:steps]
        correct += self._correct

    def _has_graph(self, batch: Batch) -> bool:
        """Whether there is a graph, after an attempt to record it."""
        if self._graph is None and not self.problem:
            try:
                self._record(batch)
            except RuntimeError as error:
                self._graph, self.problem = None, str(error.__context__ or error)
        return self._graph is not None

    def _record(self, batch: Batch) -> None:
        """Record one step on the next full batch of the inputs. The recording itself trains nothing."""
        device, count = self._device, CHUNK_STEPS * batch.size
        if self._resident:
            self._images, self._labels = batch.images, batch.labels
        else:
            self._images = torch.empty(count, *batch.images.shape[1:], dtype=torch.uint8, device=device)
            self._labels = torch.zeros(count, dtype=torch.int64, device=device)
        self._rows = torch.arange(count, device=device)
        self._rates = torch.zeros(CHUNK_STEPS, device=device)
        self._losses = torch.zeros(CHUNK_STEPS, device=device)
        self._done = torch.zeros(1, dtype=torch.int64, device=device)  # steps of this chunk
        self._number = torch.zeros((), device=device)  # steps of the training
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._positions = torch.arange(batch.size, device=device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._number += 1
            rows = self._rows[self._done * batch.size + self._positions]
            rate = self._rates.index_select(0, self._done).squeeze(0)
            loss, correct = self._take_step(self._images[rows], self._labels[rows], rate, self._number)
            self._losses.index_copy_(0, self._done, loss.reshape(1))
            self._correct += correct
            self._done += 1
        self._graph = graph
