"""Optimisation steps: by the compiled kernels where they know the network, else by PyTorch. The same mathematics."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from misread.engine.chain import Chain, UnknownNetwork
from misread.engine.library import Hyper
from misread.models.network import network_logits
from misread.training.evaluate import predict_by_torch
from misread.training.events import EngineUsed
from misread.training.losses import cross_entropy, make_targets
from misread.training.optimizers import make_stepper
from misread.training.recipe import Adam, AdamW, Recipe


class Steps(Protocol):
    """A network while it trains. The network itself has the weights after `write_back`."""

    used: EngineUsed

    def take(self, images: Tensor, labels: Tensor, rows: Tensor, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        """A step for each learning rate, on the next batch of rows.

        images (N, H, W, C) uint8, labels (N,) int64, rows (n,) int64, on the network's device.
        Returns each step's mean loss, and how many images were right as they were met; without synchronisation.
        """
        ...

    def predict(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> logits (N, K) float32."""
        ...

    def write_back(self) -> None: ...


class KernelSteps:
    """Steps by the compiled kernels."""

    def __init__(self, network: nn.Module, recipe: Recipe, image_shape: tuple[int, int, int]) -> None:
        spec = recipe.optimizer
        if not isinstance(spec, Adam | AdamW):
            raise UnknownNetwork(f"they know Adam and AdamW, not {spec.name}")
        decay = spec.weight_decay if isinstance(spec, AdamW) else 0.0
        hyper = Hyper(spec.beta_1, spec.beta_2, spec.epsilon, decay, recipe.loss.label_smoothing)
        self.network, self.taken = network, 0
        self.batch_size, mixed = recipe.batch_size, recipe.precision == "mixed"
        self.chain = Chain(
            network, image_shape, batch_size=recipe.batch_size, training=hyper, mixed=mixed, dropout_key=recipe.seed
        )
        note = "this processor has no bf16 products" if mixed and not self.chain.mixed else ""
        self.used = EngineUsed("kernels", "mixed" if self.chain.mixed else "float32", note)

    def take(self, images: Tensor, labels: Tensor, rows: Tensor, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        losses, correct = self.chain.train(images, labels, rows.contiguous(), rates, self.taken)
        self.taken += len(rates)
        return torch.from_numpy(losses).float(), torch.tensor(correct)

    def predict(self, images: Tensor) -> Tensor:
        return self.chain.predict(images)

    def write_back(self) -> None:
        self.network.load_state_dict(self.chain.weights())


class TorchSteps:
    """Steps by PyTorch, for any network, optimizer and device."""

    def __init__(self, network: nn.Module, recipe: Recipe, n_classes: int, device: torch.device, note: str) -> None:
        self.network, self.recipe, self.n_classes, self.device = network, recipe, n_classes, device
        self.optimizer = make_stepper(recipe.optimizer, network.parameters())
        self.mixed = recipe.precision == "mixed" and has_fast_bf16(device)
        if recipe.precision == "mixed" and not self.mixed:
            note += ("; " if note else "") + f"bf16 is not fast on this {device.type}"
        self.used = EngineUsed("torch", "mixed" if self.mixed else "float32", note)

    def take(self, images: Tensor, labels: Tensor, rows: Tensor, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        self.network.train()
        losses = torch.empty(len(rates), device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        for step, (batch, rate) in enumerate(zip(rows.split(self.recipe.batch_size), rates, strict=True)):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
                logits = network_logits(self.network, images[batch])
            targets = make_targets(labels[batch], self.recipe.loss, self.n_classes)
            loss = cross_entropy(logits.float(), targets, self.recipe.loss.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step(rate)
            losses[step] = loss.detach()
            correct += (logits.argmax(dim=1) == labels[batch]).sum()
        return losses, correct

    def predict(self, images: Tensor) -> Tensor:
        return predict_by_torch(self.network, images)

    def write_back(self) -> None:
        """The network is what was trained."""


def make_steps(network: nn.Module, recipe: Recipe, images: Tensor, n_classes: int) -> Steps:
    """Steps for a network on the images' device: by the kernels where they can."""
    _, height, width, channels = images.shape
    if images.device.type != "cpu":
        return TorchSteps(network, recipe, n_classes, images.device, "")
    try:
        return KernelSteps(network, recipe, (height, width, channels))
    except UnknownNetwork as unknown:
        return TorchSteps(network, recipe, n_classes, images.device, f"not by the kernels: {unknown}")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether products in bf16 are faster there than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
