"""The compiled kernels as a backend."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from misread.engine.chain import FIRST_MOMENTS, SECOND_MOMENTS, Chain, UnknownNetwork
from misread.engine.library import Hyper
from misread.messages import Message
from misread.models.layers import Dense
from misread.models.network import Network
from misread.training.backend import WEIGHTS, Capabilities, Weights
from misread.training.batches import Batch
from misread.training.randomness import Purpose, random_key
from misread.training.recipe import Adam, AdamW, Recipe
from misread.training.torch_backend import TorchBackend

FIRST, SECOND = "first_moments/", "second_moments/"
WIDEST_FEATURES = 2048  # wider features use PyTorch: the identity layer below would cost more than the network


class KernelBackend:
    """A network in the kernels' layout. The weights of the `nn.Module` itself do not change."""

    def __init__(
        self, network: nn.Module, image_shape: tuple[int, int, int], recipe: Recipe | None = None, seed: int = 0
    ) -> None:
        """Raises UnknownNetwork: the kernels do not support this network or recipe."""
        if recipe is not None and len(recipe.image_scales) > 1:
            raise UnknownNetwork(Message("engine.image-sizes"))
        self.network, self.image_shape = network, image_shape
        self._features: Chain | TorchBackend | None = None  # created on first use, with the weights of that time
        if recipe is None:
            self._chain = Chain(network, image_shape)
        else:
            self._chain = Chain(
                network,
                image_shape,
                batch_size=recipe.batch_size,
                training=_hyper(recipe),
                mixed=recipe.precision == "mixed",
                dropout_key=random_key(seed, Purpose.DROPOUT),
            )
        lacks_bf16 = recipe is not None and recipe.precision == "mixed" and not self._chain.mixed
        self.capabilities = Capabilities(
            "kernels",
            "mixed" if self._chain.mixed else "float32",
            self._chain.build,
            Message("engine.no-bf16") if lacks_bf16 else "",
        )

    def step(self, batch: Batch, rates: Sequence[float]) -> tuple[Tensor, Tensor]:
        self._features = None
        losses, correct = self._chain.train(
            batch.images, batch.labels, batch.rows.contiguous(), rates, batch.first_step
        )
        return torch.from_numpy(losses).float(), torch.tensor(correct)

    def logits(self, images: Tensor) -> Tensor:
        return self._chain.predict(images)

    def features(self, images: Tensor) -> Tensor:
        if self._features is None:
            self._features = self._make_features()
        extractor = self._features
        return extractor.predict(images) if isinstance(extractor, Chain) else extractor.features(images)

    def _make_features(self) -> "Chain | TorchBackend":
        """The network with an identity layer at its end, so its logits are the features; PyTorch if they are wide."""
        weights, layers = self.weights(), list(self.network.named_children())
        name, last = layers[-1]
        if not isinstance(last, Dense) or last.in_features > WIDEST_FEATURES:
            self.network.load_state_dict(weights)
            return TorchBackend(self.network, torch.device("cpu"))
        identity = Dense(last.in_features, last.in_features, activation="linear", use_bias=True)
        chain = Chain(Network(OrderedDict([*layers[:-1], (name, identity)])), self.image_shape)
        units = last.in_features
        chain.load_weights({**weights, f"{name}.weight": torch.eye(units), f"{name}.bias": torch.zeros(units)})
        return chain

    def weights(self) -> Weights:
        return self._chain.weights()

    def load_weights(self, weights: Weights) -> None:
        self._features = None
        self._chain.load_weights(weights)

    def state_dict(self) -> Weights:
        parts = (
            (WEIGHTS, self._chain.weights()),
            (FIRST, self._chain.moments(FIRST_MOMENTS)),
            (SECOND, self._chain.moments(SECOND_MOMENTS)),
        )
        return {prefix + name: tensor for prefix, tensors in parts for name, tensor in tensors.items()}

    def load_state_dict(self, state: Weights) -> None:
        def part(prefix: str) -> Weights:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self.load_weights(part(WEIGHTS))
        self._chain.load_moments(FIRST_MOMENTS, part(FIRST))
        self._chain.load_moments(SECOND_MOMENTS, part(SECOND))


def _hyper(recipe: Recipe) -> Hyper:
    spec = recipe.optimizer
    if not isinstance(spec, Adam | AdamW):
        raise UnknownNetwork(Message("engine.optimizer", name=spec.name))
    decay = spec.weight_decay if isinstance(spec, AdamW) else 0.0
    return Hyper(spec.beta_1, spec.beta_2, spec.epsilon, decay, recipe.loss.label_smoothing)
