"""The summary of a network: a table of its layers, their output shapes and parameters."""

import html
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from misread.models.backbone import PretrainedNetwork, n_features
from misread.models.layers import Residual
from misread.models.network import Network
from misread.models.shapes import Shape
from misread.models.views import MeanOverViews

MB = 1024 * 1024


@dataclass(frozen=True)
class LayerRow:
    """One layer. `output_shape` is in Keras's order without the batch: (H, W, C) or (n,)."""

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Summary:
    """The layers and totals of a network. `size_bytes` is the memory of its parameters and buffers."""

    layers: tuple[LayerRow, ...]
    parameters: int
    trainable: int
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        cells = [("Layer", "Type", "Output shape", "Parameters")]
        cells += [(r.name, r.type, shape_text(r.output_shape), f"{r.parameters:,}") for r in self.layers]
        widths = [max(len(row[i]) for row in cells) for i in range(4)]
        lines = ["  ".join([*(c.ljust(w) for c, w in zip(row[:3], widths, strict=False)), row[3].rjust(widths[3])])
                 for row in cells]  # fmt: skip
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:], rule, self.totals])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    @property
    def totals(self) -> str:
        fixed = self.parameters - self.trainable
        return (
            f"{self.parameters:,} parameters ({self.trainable:,} trainable, {fixed:,} fixed), "
            f"{self.size_bytes / MB:.2f} MB"
        )


def shape_text(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(["None", *map(str, shape)]) + ")"


def summarise(network: nn.Module, image_shape: Shape) -> Summary:
    """The summary of a network for (H, W, C) images, or of a `Network` for (D,) features.

    A backbone is one line. Other modules than `Network` are listed by innermost modules.

    Raises any error of the network for one black image.
    """
    if isinstance(network, MeanOverViews):
        return summarise(network.network, image_shape)
    if isinstance(network, PretrainedNetwork):
        return _with_backbone(network)
    if isinstance(network, Network):
        named, shapes = _listed(network)
    else:
        named = [(n, m) for n, m in network.named_modules() if not list(m.children())]
        shapes = _traced_shapes(network, dict(named), image_shape)
    rows = []
    for name, module in named:
        kind = type(module).__name__
        activation = getattr(module, "activation", None)
        if isinstance(network, Network) and network.final_softmax and module is named[-1][1]:
            activation = "softmax"
        if isinstance(activation, str) and activation != "linear":
            kind = f"{kind} ({activation})"
        own = 0 if isinstance(module, Residual) else _count(module)  # its inner layers have rows of their own
        rows.append(LayerRow(name, kind, shapes.get(name, ()), own))
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    size_bytes = sum(t.numel() * t.element_size() for t in [*network.parameters(), *network.buffers()])
    return Summary(tuple(rows), _count(network), trainable, size_bytes)


def _listed(chain: Network | Residual) -> tuple[list[tuple[str, nn.Module]], dict[str, tuple[int, ...]]]:
    """The layers by name, those inside a residual layer before it, and their output shapes."""
    named: list[tuple[str, nn.Module]] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for (name, module), shape in zip(chain.named_children(), chain.output_shapes, strict=True):
        if isinstance(module, Residual):
            inner, inner_shapes = _listed(module)
            named += [(f"{name}.{inner_name}", layer) for inner_name, layer in inner]
            shapes |= {f"{name}.{inner_name}": inner_shape for inner_name, inner_shape in inner_shapes.items()}
        named.append((name, module))
        shapes[name] = shape
    return named, shapes


def _with_backbone(network: PretrainedNetwork) -> Summary:
    backbone = network.backbone
    image_shape = (*backbone.size, backbone.channels)
    features, head, count = n_features(backbone, image_shape), summarise(network.head, image_shape), _count(backbone)
    row = LayerRow("backbone", backbone.name.partition("=")[0], (features,), count)
    return Summary(
        (row, *head.layers),
        head.parameters + count,
        head.trainable + (0 if network.frozen else sum(p.numel() for p in backbone.parameters())),
        head.size_bytes + sum(t.nbytes for t in [*backbone.parameters(), *backbone.buffers()]),
    )


def _count(module: nn.Module) -> int:
    """The number of parameters as Keras counts them, with the moving averages of BatchNormalization."""
    return sum(t.numel() for t in module.state_dict().values() if t.is_floating_point())


def _traced_shapes(network: nn.Module, modules: dict[str, nn.Module], image_shape: Shape) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def hook(name: str) -> Any:
        def record_shape(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shape = tuple(output.shape[1:])
                shapes[name] = (*shape[1:], shape[0]) if len(shape) == 3 else shape

        return record_shape

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    was_training = network.training
    height, width, channels = image_shape
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        network.eval()
        with torch.no_grad():
            network(torch.zeros(1, channels, height, width, device=device))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return shapes
