"""The interface of a backend, which computes training steps, predictions and features: the kernels or PyTorch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from torch import Tensor

from misread.training.batches import Batch

Weights = dict[str, Tensor]  # keys as in a network's state_dict
WEIGHTS: Final = "weights/"  # the prefix of the weights in a backend's state_dict; optimizer moments have others


@dataclass(frozen=True)
class Capabilities:
    """Which backend computes, and how.

    name:      `kernels` or `torch`.
    precision: `float32` or `mixed`. It is float32 if the recipe asks for mixed but the machine has no fast bf16.
    build:     the instruction set that the kernels were compiled for, or the version of PyTorch, with the build of the
               kernels where these compute its convolutions.
    note:      why a slower backend or precision is used; empty if the fastest is used.
    """

    name: str
    precision: str
    build: str
    note: str = ""


class Backend(Protocol):
    """A network with its weights in the layout of one engine.

    A backend that was created with a recipe can also train. Weights are passed in PyTorch's layout, with the keys of
    the network's `state_dict`. Returned weights are copies.
    """

    capabilities: Capabilities

    def step(self, batch: Batch, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Take one optimizer step per learning rate, each on the next `batch.size` images.

        Returns the mean loss of each step, (S,) float32, and the number of correct predictions, () int64, each made
        before the step that trains on the image. Neither is synchronised with the CPU.
        """
        ...

    def logits(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> (N, K) float32, in evaluation mode: no dropout, moving averages in normalisation."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> (N, D) float32: the input of the linear layer that gives the logits.

        If the network (a module from Python) ends in another layer, these are the logits.
        """
        ...

    def weights(self) -> Weights: ...

    def load_weights(self, weights: Weights) -> None: ...

    def state_dict(self) -> Weights:
        """The weights, with keys that begin with `WEIGHTS`, and the optimizer's moments."""
        ...

    def load_state_dict(self, state: Weights) -> None: ...


@contextmanager
def using_weights(backend: Backend, weights: Weights | None) -> Iterator[None]:
    """Let the backend use these weights inside the block, then restore its own. None changes nothing."""
    if weights is None:
        yield
        return
    own = backend.weights()
    backend.load_weights(weights)
    try:
        yield
    finally:
        backend.load_weights(own)
