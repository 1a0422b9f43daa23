"""What computes a network: its training steps, its predictions, its features. The compiled kernels or PyTorch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from torch import Tensor

from misread.training.batches import Batch

Weights = dict[str, Tensor]  # by the names of a network's state_dict
WEIGHTS: Final = "weights/"  # the prefix of the weights in a backend's state_dict; optimizer moments have others


@dataclass(frozen=True)
class Capabilities:
    """What computes, and how.

    name:      `kernels` or `torch`.
    precision: `float32` or `mixed`; float32 where the recipe asks for mixed and this machine has no fast bf16.
    build:     of the kernels, the instruction set they were compiled for; of PyTorch its version.
    note:      why it is not the faster backend or precision; empty where it is.
    """

    name: str
    precision: str
    build: str
    note: str = ""


class Backend(Protocol):
    """A network's weights in the layout that one engine computes with.

    A backend that was made with a recipe can also train. Weights go in and out in PyTorch's layout, under the names
    of the network's `state_dict`; what goes out is a copy.
    """

    capabilities: Capabilities

    def step(self, batch: Batch, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Take one optimizer step for each learning rate, each on the next `batch.size` images.

        Returns each step's mean loss (S,) float32, and the number of images classified correctly as they were met,
        () int64. Neither is synchronised with the CPU.
        """
        ...

    def logits(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> (N, K) float32, with dropout off and moving averages in use."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> (N, D) float32: the input of the linear layer that gives the logits.

        Of a network that ends in another layer, which only a module from Python can, the logits stand in.
        """
        ...

    def weights(self) -> Weights: ...

    def load_weights(self, weights: Weights) -> None: ...

    def state_dict(self) -> Weights:
        """The weights, under names that begin with `WEIGHTS`, and the optimizer's moments."""
        ...

    def load_state_dict(self, state: Weights) -> None: ...


@contextmanager
def using_weights(backend: Backend, weights: Weights | None) -> Iterator[None]:
    """The backend computes with these weights inside, and has its own again afterwards. None changes nothing."""
    if weights is None:
        yield
        return
    own = backend.weights()
    backend.load_weights(weights)
    try:
        yield
    finally:
        backend.load_weights(own)
