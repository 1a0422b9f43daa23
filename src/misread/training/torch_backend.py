"""The PyTorch backend, for any network, optimizer and device."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from misread.engine.kernel_layers import KernelLayers, has_known_convolutions, layers_build
from misread.models.network import Network, network_logits
from misread.training.backend import WEIGHTS, Capabilities, Weights
from misread.training.batches import Batch
from misread.training.cuda_graph import GraphedSteps
from misread.training.losses import cross_entropy, make_targets
from misread.training.optimizers import make_stepper
from misread.training.randomness import Purpose, random_key
from misread.training.recipe import Recipe

PREDICT_BATCH = 128  # for the lesson's CNN twice as fast as 1,000, because the activations stay in the CPU cache
GPU_PREDICT_BATCH = 2000
OPTIMIZER = "optimizer/"


class TorchBackend:
    """A network computed by PyTorch. Training and loading weights change the `nn.Module` itself."""

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        recipe: Recipe | None = None,
        seed: int = 0,
        note: str = "",
    ) -> None:
        self.network, self.device, self.seed = network, device, seed
        mixed = recipe is not None and recipe.precision == "mixed"
        self.mixed = mixed and has_fast_bf16(device)
        if mixed and not self.mixed:
            note += ("; " if note else "") + f"bf16 is not fast on this {device.type}"
        in_float32 = device.type == "cpu" and not self.mixed
        kernels = layers_build() if in_float32 and has_known_convolutions(network) else ""
        self.kernel_layers: AbstractContextManager[object] = KernelLayers() if kernels else nullcontext()
        build = f"{torch.__version__}, layers by kernels {kernels}" if kernels else str(torch.__version__)
        self.capabilities = Capabilities("torch", "mixed" if self.mixed else "float32", build, note)
        self.draws = not isinstance(network, Network) or any(isinstance(m, nn.Dropout) for m in network.modules())
        self.predict_batch = PREDICT_BATCH if device.type == "cpu" else GPU_PREDICT_BATCH
        if device.type == "cuda":  # the images are channels-last as they come
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe is None:
            return
        self.loss = recipe.loss
        self.optimizer = make_stepper(recipe.optimizer, network.parameters(), self.mixed)
        self.graphed_steps: GraphedSteps | None = None
        if device.type == "cuda" and self.optimizer.capturable and isinstance(network, Network):
            resident = recipe.augmentation is None and recipe.image_scales == (1.0,)
            self.graphed_steps = GraphedSteps(self._take_step, self._seed_step, device, resident)

    def step(self, batch: Batch, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        self.network.train()
        if self.graphed_steps:
            return self.graphed_steps.take(batch, rates)
        losses = torch.empty(len(rates), device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        for step, (rows, rate) in enumerate(zip(batch.rows.split(batch.size), rates, strict=True)):
            number = batch.first_step + step
            self._seed_step(number)
            losses[step], right = self._take_step(batch.images[rows], batch.labels[rows], rate, number + 1)
            correct += right
        return losses, correct

    def _seed_step(self, number: int) -> None:
        """Random numbers inside the network, such as dropout, depend only on the step, counted from 0."""
        if self.draws:
            seed_generators(random_key(self.seed, Purpose.DROPOUT, number), self.device)

    def _take_step(
        self, images: Tensor, labels: Tensor, rate: float | Tensor, number: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step on images (B, H, W, C) uint8. number: of the step, counted from 1. Returns loss and correct, ()."""
        logits = self._training_logits(images)
        targets = make_targets(labels, self.loss, logits.shape[1])
        loss = cross_entropy(logits.float(), targets, self.loss.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step(rate, number)
        return loss.detach(), (logits.argmax(dim=1) == labels).sum()

    def _training_logits(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed), self.kernel_layers:
            return network_logits(self.network, images)

    def logits(self, images: Tensor) -> Tensor:
        with evaluating(self.network), self.kernel_layers:
            parts = [network_logits(self.network, part) for part in images.split(self.predict_batch)]
            return torch.cat(parts).float()

    def features(self, images: Tensor) -> Tensor:
        layer = self._logits_layer(images[:1])
        inputs: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) if layer else None
        parts = []
        try:
            with evaluating(self.network), self.kernel_layers:
                for part in images.split(self.predict_batch):
                    logits = network_logits(self.network, part)
                    parts.append((inputs[-1] if layer else logits).float())
                    inputs.clear()
        finally:
            if hook:
                hook.remove()
        return torch.cat(parts)

    def _logits_layer(self, images: Tensor) -> nn.Linear | None:
        """The linear layer that was called last, if its input is flat and its output has the shape of the logits."""
        calls: list[tuple[nn.Linear, torch.Size, torch.Size]] = []
        hooks = [
            module.register_forward_hook(lambda m, inputs, output: calls.append((m, inputs[0].shape, output.shape)))
            for module in self.network.modules()
            if isinstance(module, nn.Linear)
        ]
        try:
            with evaluating(self.network):
                logits = network_logits(self.network, images)
        finally:
            for hook in hooks:
                hook.remove()
        if not calls:
            return None
        layer, inputs, outputs = calls[-1]
        return layer if len(inputs) == 2 and outputs == logits.shape else None

    def weights(self) -> Weights:
        return {
            name: tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in self.network.state_dict().items()
        }

    def load_weights(self, weights: Weights) -> None:
        self.network.load_state_dict(weights)

    def state_dict(self) -> Weights:
        moments = {
            OPTIMIZER + name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in self.optimizer.moments().items()
        }
        return {**{WEIGHTS + name: tensor for name, tensor in self.weights().items()}, **moments}

    def load_state_dict(self, state: Weights) -> None:
        self.load_weights({k.removeprefix(WEIGHTS): v for k, v in state.items() if k.startswith(WEIGHTS)})
        for name, tensor in self.optimizer.moments().items():
            tensor.copy_(state[OPTIMIZER + name])


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of this device. `torch.manual_seed` seeds all devices, which takes
    as long as a step of a small network.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients inside the block; afterwards the previous mode."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(was_training)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether matrix products in bf16 are faster on this device than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
