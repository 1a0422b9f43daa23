"""Writes the network of a recipe as an ONNX graph, a node or a few for each layer.

The graph has the same names as the network: the weights of `conv2d_1` are `conv2d_1.weight` and `conv2d_1.bias`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from misread.models import layers
from misread.models.network import Network
from misread.models.shapes import Pair
from misread.models.views import MeanOverViews, view_sources, without_views
from misread.training.networks import members

OPSET = 18  # of ONNX 1.13, 2022
IR_VERSION = 8  # the same
ONE_NODE = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
INPUT, OUTPUT = "images", "probs"


def is_writable(network: nn.Module) -> bool:
    """Whether `classifier_graph` can write this network: it is made of a recipe's layers alone."""
    return all(isinstance(member, Network) for member in members(without_views(network)))


def classifier_graph(network: nn.Module, image_shape: tuple[int, int, int], n_classes: int) -> onnx.ModelProto:
    """The model from images (N, H, W, C) uint8 to probabilities (N, K) float32.

    network: `is_writable`. Views become one batch, so that the graph has each layer once.
    """
    graph = _Graph()
    scaled = graph.node("Mul", graph.node("Cast", INPUT, to=TensorProto.FLOAT), graph.array("scale", 1 / 255))
    x = graph.node("Transpose", scaled, perm=[0, 3, 1, 2])
    n_views = 1
    if isinstance(network, MeanOverViews):
        views = _views(graph, x, network, image_shape)
        n_views, x = len(views), graph.node("Concat", *views, axis=0)
    every_member = members(without_views(network))
    scopes = [f"members.{k}." for k in range(len(every_member))] if len(every_member) > 1 else [""]
    probs = [_member(graph, member, x, scope) for member, scope in zip(every_member, scopes, strict=True)]
    mean = graph.node("Mean", *probs) if len(probs) > 1 else probs[0]
    if n_views > 1:
        by_view = graph.node("Reshape", mean, graph.array("by_view", [n_views, -1, n_classes]))
        mean = graph.node("ReduceMean", by_view, graph.array("view_axis", [0]), keepdims=0)
    graph.node("Identity", mean, output=OUTPUT)
    return graph.model(image_shape, n_classes)


class _Graph:
    """Nodes and weights, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.scope = ""  # before the names of the layer that is being written
        self.flat = False  # whether that layer's input is (N, n), not (N, C, H, W)

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        output = output or f"{self.scope}{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def array(self, name: str, values: Any) -> str:
        """Add a constant, floats as float32 and whole numbers as int64; returns its full name."""
        if isinstance(values, torch.Tensor):
            values = values.detach().numpy()
        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        self.weights[self.scope + name] = numpy_helper.from_array(array, self.scope + name)
        return self.scope + name

    def model(self, image_shape: Sequence[int], n_classes: int) -> onnx.ModelProto:
        images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *image_shape])
        probs = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", n_classes])
        graph = helper.make_graph(self.nodes, "classifier", [images], [probs], list(self.weights.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _views(graph: _Graph, x: str, network: MeanOverViews, image_shape: tuple[int, int, int]) -> list[str]:
    """The views of (N, C, H, W): each takes rows and columns of it."""
    height, width, _ = image_shape
    every = []
    for k, (rows, columns) in enumerate(view_sources(network, height, width)):
        y = graph.node("Gather", x, graph.array(f"view_{k}_rows", rows), axis=2)
        every.append(graph.node("Gather", y, graph.array(f"view_{k}_columns", columns), axis=3))
    return every


def _member(graph: _Graph, member: nn.Module, x: str, scope: str) -> str:
    """The probabilities by one network of a recipe's layers."""
    assert isinstance(member, Network)  # by `is_writable`
    graph.flat = False
    logits = _chain(graph, member, x, scope)
    return graph.node("Softmax", logits, axis=1)


def _chain(graph: _Graph, modules: nn.Sequential, x: str, scope: str) -> str:
    for name, module in modules.named_children():
        graph.scope = f"{scope}{name}."
        x = _layer(graph, module, x)
    graph.scope = ""
    return x


def _layer(graph: _Graph, module: nn.Module, x: str) -> str:
    match module:
        case layers.Flatten():
            return _flatten(graph, x)
        case layers.Dense():
            return _activation(graph, module.activation, graph.node("Gemm", x, *_weights(graph, module), transB=1))
        case layers.Conv2D():
            return _activation(graph, module.activation, _convolution(graph, module, x, module.pad))
        case layers.Whitening():
            return _activation(graph, module.activation, _convolution(graph, module, x, (0, 0, 0, 0)))
        case layers.MaxPooling2D():
            return graph.node("MaxPool", x, **_window(module.pool, module.strides, module.pad))
        case layers.AveragePooling2D():
            window = _window(module.pool, module.strides, module.pad)
            return graph.node("AveragePool", x, count_include_pad=0, **window)
        case layers.GlobalAveragePooling2D():
            return _flatten(graph, graph.node("GlobalAveragePool", x))
        case layers.GlobalMaxPooling2D():
            return _flatten(graph, graph.node("GlobalMaxPool", x))
        case layers.Residual():
            return graph.node("Add", x, _chain(graph, module, x, graph.scope))
        case layers.BatchNormalization():
            names = ("weight", "bias", "running_mean", "running_var")
            arrays = [graph.array(name, getattr(module, name)) for name in names]
            return graph.node("BatchNormalization", x, *arrays, epsilon=module.eps)
        case layers.Activation():
            return _activation(graph, module.activation, x)
        case nn.Dropout():
            return x
    raise AssertionError(f"unreachable: {type(module).__name__} is no layer of a recipe")


def _flatten(graph: _Graph, x: str) -> str:
    """Channels last, as in Keras."""
    if graph.flat:
        return x
    graph.flat = True
    return graph.node("Flatten", graph.node("Transpose", x, perm=[0, 2, 3, 1]))


def _weights(graph: _Graph, module: nn.Linear | nn.Conv2d) -> list[str]:
    return [graph.array(name, values) for name, values in module.named_parameters()]


def _convolution(graph: _Graph, module: nn.Conv2d, x: str, pad: tuple[int, int, int, int]) -> str:
    kernel, strides = (module.kernel_size[0], module.kernel_size[1]), (module.stride[0], module.stride[1])
    return graph.node("Conv", x, *_weights(graph, module), **_window(kernel, strides, pad))


def _window(kernel: Pair, strides: Pair, pad: tuple[int, int, int, int]) -> dict[str, Any]:
    """Attributes of a node. pad: (left, right, top, bottom), which ONNX wants as top, left, bottom, right."""
    left, right, top, bottom = pad
    return {"kernel_shape": list(kernel), "strides": list(strides), "pads": [top, left, bottom, right]}


def _activation(graph: _Graph, name: str, x: str) -> str:
    if name in ONE_NODE:
        return graph.node(ONE_NODE[name], x)
    match name:
        case "leaky_relu":
            return graph.node("LeakyRelu", x, alpha=layers.LEAKY_SLOPE)
        case "softmax":
            return graph.node("Softmax", x, axis=1)
        case "gelu":  # x / 2 * (1 + erf(x / sqrt(2))); the opset has no node for it
            erf = graph.node("Erf", graph.node("Mul", x, graph.array("gelu_scale", 1 / math.sqrt(2))))
            gate = graph.node(
                "Mul", graph.node("Add", erf, graph.array("gelu_one", 1.0)), graph.array("gelu_half", 0.5)
            )
            return graph.node("Mul", x, gate)
    return x
