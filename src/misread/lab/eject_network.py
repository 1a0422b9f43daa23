"""The layers of a recipe as the text of PyTorch modules."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from misread.lab.source_parts import Part
from misread.models import layers
from misread.models.network import Network

ACTIVATIONS = {
    "relu": "nn.ReLU()",
    "leaky_relu": f"nn.LeakyReLU({layers.LEAKY_SLOPE})",
    "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()",
    "softmax": "nn.Softmax(dim=1)",
    "gelu": "nn.GELU()",
}
COPIED = (  # torch has no module that computes the same numbers
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.BatchNormalization,
    layers.AveragePooling2D,
)


@dataclass
class NetworkText:
    """The modules of a network as lines of Python, and the classes of misread that they use.

    lines: the entries of an `nn.Sequential`. residual: whether they use the class `Residual`.
    """

    lines: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    residual: bool = False


def network_text(network: Network) -> NetworkText:
    """The text of a network that was built from a recipe."""
    text = NetworkText()
    text.lines = list(_entries(network, network.output_shapes, text, 2))
    return text


def _entries(chain: nn.Sequential, shapes: Sequence[tuple[int, ...]], text: NetworkText, depth: int) -> Iterator[str]:
    indent = "    " * depth
    for module, shape in zip(chain, shapes, strict=True):
        size = "x".join(map(str, shape))
        if isinstance(module, layers.Residual):
            text.residual = True
            yield f"{indent}Residual("
            yield from _entries(module, module.output_shapes, text, depth + 1)
            yield f"{indent}),  # {size}: the sum of the input and the output of these layers"
            continue
        *before, last = _modules(module, text)
        yield from (f"{indent}{line}," for line in before)
        yield f"{indent}{last},  # {size}"


def _modules(module: nn.Module, text: NetworkText) -> list[str]:
    """The modules that do what one layer does."""
    kind = type(module).__name__
    if isinstance(module, COPIED) and type(module) not in text.parts and not _is_plain(module):
        text.parts.append(type(module))
    match module:
        case layers.Dense():
            bias = "" if module.bias is not None else ", bias=False"
            return _activated(f"nn.Linear({module.in_features}, {module.out_features}{bias})", module.activation)
        case layers.Conv2D() | layers.Whitening():
            return _convolution(module)
        case layers.MaxPooling2D():
            pad = [f"nn.ConstantPad2d({module.pad}, -math.inf)"] if any(module.pad) else []
            return [*pad, f"nn.MaxPool2d({_pair(module.pool)}{_strides(module.strides, module.pool)})"]
        case layers.AveragePooling2D() if _is_plain(module):
            return [f"nn.AvgPool2d({_pair(module.pool)}{_strides(module.strides, module.pool)})"]
        case layers.AveragePooling2D():
            assert module.inside is not None
            return [f'AveragePooling2D({module.shape}, {module.pool}, {module.strides}, "same")']
        case layers.BatchNormalization():
            assert module.momentum is not None
            return [f"BatchNormalization({module.num_features}, momentum={1 - module.momentum:.12g}, "
                    f"epsilon={module.eps!r})"]  # fmt: skip
        case nn.Dropout():
            return [f"nn.Dropout({module.p!r})"]
        case layers.Activation():
            return [ACTIVATIONS.get(module.activation, "nn.Identity()")]
    return [f"{kind}()"]


def _is_plain(module: nn.Module) -> bool:
    """Whether torch has the module: average pooling without padded pixels."""
    return isinstance(module, layers.AveragePooling2D) and module.inside is None


def _convolution(module: layers.Conv2D | layers.Whitening) -> list[str]:
    size = (module.kernel_size[0], module.kernel_size[1])
    options = _strides((module.stride[0], module.stride[1]), (1, 1), "stride=")
    before = []
    if isinstance(module, layers.Conv2D) and any(module.pad):
        if module.even:
            options += f", padding={_pair((module.pad[2], module.pad[0]))}"
        else:
            before = [f"nn.ZeroPad2d({module.pad})"]
    options += "" if module.bias is not None else ", bias=False"
    text = f"nn.Conv2d({module.in_channels}, {module.out_channels}, {_pair(size)}{options})"
    return [*before, *_activated(text, module.activation)]


def _activated(text: str, activation: str) -> list[str]:
    return [text] if activation == "linear" else [text, ACTIVATIONS[activation]]


def _pair(value: tuple[int, int]) -> str:
    return str(value[0]) if value[0] == value[1] else str(value)


def _strides(strides: tuple[int, int], usual: tuple[int, int], name: str = "") -> str:
    return "" if strides == usual else f", {name}{_pair(strides)}"
