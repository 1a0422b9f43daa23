"""A Keras model as one torch module, built after all shapes and weights have been checked."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from misread.errors import RunError
from misread.lab.keras_archive import ReadWeights
from misread.lab.keras_graph import Graph, Key, Layer
from misread.lab.keras_layers import Plan, Shape, channels_first, plan_layer

MAX_INPUT = 2**22  # numbers


class KerasNetwork(nn.Module):
    """(B, *input_shape) float32, in Keras's order, to probabilities (B, K).

    input_shape: (H, W, C), (H, W) or (n,). n_classes: K. rescales: a Rescaling layer is inside.
    output: `softmax`; or `logits` or `sigmoid`, which become probabilities here. One sigmoid gives two classes.
    """

    def __init__(self, chain: "_Chain", input_shape: Shape, n_outputs: int, output: str, rescales: bool) -> None:
        super().__init__()
        self.chain, self.input_shape, self.output, self.rescales = chain, input_shape, output, rescales
        self.n_classes = 2 if n_outputs == 1 else n_outputs

    def forward(self, x: Tensor) -> Tensor:
        x = self.chain(channels_first(x.reshape(len(x), *self.input_shape)))
        if self.n_classes == 2 and x.shape[1] == 1:
            second = x if self.output == "sigmoid" else x.sigmoid()
            return torch.cat([1 - second, second], dim=1)
        return x if self.output == "softmax" else x.softmax(dim=1)

    @torch.inference_mode()
    def probs(self, inputs: Iterator[np.ndarray]) -> np.ndarray:
        """Blocks of (n, ...) float32 -> (N, K) float32, rows sum to 1."""
        return np.concatenate([self(torch.from_numpy(block)).numpy() for block in inputs])


class _Chain(nn.Module):
    """The calls of a graph. A layer that is called several times is one module."""

    def __init__(self, graph: Graph, named: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.named = nn.ModuleList(
            named.values()
        )  # by position: names from a file may be those of torch's own attributes
        self.position = {name: i for i, name in enumerate(named)}
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        made: dict[Key, Tensor] = {self.graph.input: x}
        for call in self.graph.calls:
            module = self.named[self.position[call.layer.name]]
            made[call.to] = module(*(made[key] for key in call.inputs))
        return made[self.graph.output]


def build_keras_network(graph: Graph, read: ReadWeights) -> KerasNetwork:
    """The network in evaluation mode. Raises RunError: shapes that do not fit, missing weights, no probabilities."""
    if graph.input_shape is None:
        raise RunError("its input shape is not known. Give the model an Input layer and save it again")
    if len(graph.input_shape) > 3 or np.prod(graph.input_shape, dtype=object) > MAX_INPUT:
        raise RunError(f"its input of {graph.input_shape} is no image")
    builder = _Builder(read)
    with torch.random.fork_rng(devices=[]):  # modules draw initial weights, which the file's replace
        chain, shape, output = builder.chain(graph, graph.input_shape, "rescaled")
    if len(shape) != 1:
        raise RunError(f"its output has the shape {shape}, but must be one number for each class")
    if not ((output in ("softmax", "linear") and shape[0] > 1) or (output in ("sigmoid", "linear") and shape[0] == 1)):
        raise RunError(
            f"its output is {shape[0]} numbers after {output}. "
            "Probabilities need a softmax, logits (no activation), or one sigmoid"
        )
    network = KerasNetwork(
        chain, graph.input_shape, shape[0], "logits" if output == "linear" else output, builder.rescales
    )
    return network.eval().requires_grad_(False)


class _Builder:
    def __init__(self, read: ReadWeights) -> None:
        self.read, self.rescales = read, False

    def chain(self, graph: Graph, shape: Shape, output: str) -> tuple[_Chain, Shape, str]:
        """The module of a graph, the shape of its output, and what its output is.

        output: what the input is, in the words of `Plan.output`.
        """
        shapes: dict[Key, Shape] = {graph.input: shape}
        outputs: dict[Key, str] = {graph.input: output}
        built: dict[str, tuple[tuple[Shape, ...], nn.Module, Shape, str]] = {}
        for call in graph.calls:
            given = tuple(shapes[key] for key in call.inputs)
            before = outputs[call.inputs[0]] if len({outputs[key] for key in call.inputs}) == 1 else "mixed"
            if call.layer.name not in built:
                built[call.layer.name] = (given, *self._layer(call.layer, given, before))
            first, _, shapes[call.to], own = built[call.layer.name]
            outputs[call.to] = before if own == "same" else own
            if given != first:
                raise RunError(f"the layer {call.layer.name!r} is called with {given} and with {first}")
        return (
            _Chain(graph, {name: module for name, (_, module, _, _) in built.items()}),
            shapes[graph.output],
            outputs[graph.output],
        )

    def _layer(self, layer: Layer, shapes: tuple[Shape, ...], before: str) -> tuple[nn.Module, Shape, str]:
        if layer.inner:
            if len(shapes) != 1:
                raise RunError(f"the model {layer.name!r} gets {len(shapes)} inputs")
            if layer.inner.input_shape not in (None, shapes[0]):
                raise RunError(f"the model {layer.name!r} takes {layer.inner.input_shape}, but gets {shapes[0]}")
            return self.chain(layer.inner, shapes[0], before)
        plan: Plan = plan_layer(layer.kind, layer.name, layer.config, shapes)
        self.rescales |= layer.kind == "Rescaling"
        arrays = self.read(layer.path, layer.name, plan.weights) if plan.weights else []
        return plan.build(arrays), plan.shape, plan.output or "other"
