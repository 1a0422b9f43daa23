"""Writes the network of a recipe as a `.keras` file: pixels 0..255 in, probabilities out.

Every layer becomes Keras's layer of the same name; Whitening becomes a Conv2D that is not trained, Residual an Add.
Views become fixed Dense layers that pick rows or columns, because Keras has no layer for them. The probabilities of
members and views go into an Average. Keras reads the file by itself; nothing of misread is needed.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from misread.errors import RunError
from misread.lab.keras_archive import CONFIG, METADATA, WEIGHTS
from misread.lab.keras_graph import snake_case
from misread.models import layers
from misread.models.network import Network
from misread.models.views import MeanOverViews, view_sources, without_views
from misread.training.networks import members

WRITTEN_FOR = "3.0.0"  # the version of Keras whose layers and arguments are used
DATE = (1980, 1, 1, 0, 0, 0)  # of the members, so that a run always gives the same file

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """The output of a call of a layer, with its shape without the batch."""

    layer: str
    call: int
    shape: Shape

    def to_config(self) -> dict[str, Any]:
        config = {"shape": [None, *self.shape], "dtype": "float32", "keras_history": [self.layer, self.call, 0]}
        return {"class_name": "__keras_tensor__", "config": config}


@dataclass
class _Layer:
    kind: str
    name: str
    config: dict[str, Any]
    weights: list[np.ndarray]
    calls: list[list[Tensor]] = field(default_factory=list)


def keras_file(network: nn.Module, image_shape: Shape, facts: Mapping[str, str], name: str, date: str) -> bytes:
    """The contents of a `.keras` file.

    image_shape: (H, W, C). facts: metadata, see `misread.lab.facts`. name: of the model. date: of the training.
    Raises RunError: the network has a backbone or is a module from Python.
    """
    model = _Model()
    output = _classifier(model, network, image_shape)
    listed = model.in_keras_order(output)
    config = _model_config(listed, output, name)
    metadata = {"keras_version": WRITTEN_FOR, "date_saved": date, "misread": dict(facts)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as members:
        members.writestr(zipfile.ZipInfo(METADATA, DATE), json.dumps(metadata))
        members.writestr(zipfile.ZipInfo(CONFIG, DATE), json.dumps(config))
        members.writestr(zipfile.ZipInfo(WEIGHTS, DATE), _weights(listed))
    return buffer.getvalue()


class _Model:
    """Layers and their calls, in the order in which they are added."""

    def __init__(self) -> None:
        self.layers: list[_Layer] = []

    def layer(self, kind: str, weights: list[np.ndarray] | None = None, **config: Any) -> _Layer:
        base = snake_case(kind)
        count = sum(each.kind == kind for each in self.layers)
        name = f"{base}_{count}" if count else base
        found = _Layer(kind, name, {"name": name, "dtype": "float32", **config}, weights or [])
        self.layers.append(found)
        return found

    def call(self, layer: _Layer, *inputs: Tensor, shape: Shape) -> Tensor:
        layer.calls.append(list(inputs))
        return Tensor(layer.name, len(layer.calls) - 1, shape)

    def in_keras_order(self, output: Tensor) -> list[_Layer]:
        """The layers as Keras sorts them when it loads a model: the longest way to the output first.

        Weights are found by this order, because Keras names them after their position among layers of a class.
        """
        depths = {each.name: 0 for each in self.layers}
        by_name = {each.name: each for each in self.layers}
        for each in reversed(self.layers):  # a layer is added after all that it gets
            for tensors in each.calls:
                for tensor in tensors:
                    depths[tensor.layer] = max(depths[tensor.layer], depths[each.name] + 1)
        order: dict[str, None] = {}
        pending, seen = [output], set()
        while pending:  # depth first from the output
            tensor = pending.pop()
            order.setdefault(tensor.layer)
            layer = by_name[tensor.layer]
            if layer.calls and tensor not in seen:
                pending += reversed(layer.calls[tensor.call])
            seen.add(tensor)
        return sorted((by_name[name] for name in order), key=lambda each: -depths[each.name])


def _classifier(model: _Model, network: nn.Module, image_shape: Shape) -> Tensor:
    images = Tensor(model.layer("InputLayer", batch_shape=[None, *image_shape]).name, 0, image_shape)
    scaled = model.call(model.layer("Rescaling", scale=1 / 255, offset=0.0), images, shape=image_shape)
    every = list(_views(model, scaled, network)) if isinstance(network, MeanOverViews) else [scaled]
    probs = []
    for member in members(without_views(network)):
        if not isinstance(member, Network):
            raise RunError(
                "Keras has no layers for a pretrained backbone or a module from Python. Use --to onnx or --to torch."
            )
        logits = _chain(model, member, every)
        probs += _each(model, model.layer("Activation", activation="softmax"), logits, logits[0].shape)
    return probs[0] if len(probs) == 1 else model.call(model.layer("Average"), *probs, shape=probs[0].shape)


def _views(model: _Model, x: Tensor, network: MeanOverViews) -> Iterator[Tensor]:
    """The views, each by products with matrices of zeros and ones, which pick rows and columns."""
    height, width, channels = x.shape
    for rows, columns in view_sources(network, height, width):
        y = x
        for axis, size, source in ((1, height, rows), (2, width, columns)):
            if torch.equal(source, torch.arange(size)):
                continue
            picks = np.zeros((size, size), np.float32)
            picks[source.numpy(), np.arange(size)] = 1
            dims = [3, 2, 1] if axis == 1 else [1, 3, 2]  # the axis and the channels change places
            turned = tuple(y.shape[d - 1] for d in dims)
            y = model.call(model.layer("Permute", dims=dims), y, shape=turned)
            dense = model.layer("Dense", [picks], units=size, activation="linear", use_bias=False, trainable=False)
            y = model.call(dense, y, shape=turned)
            y = model.call(model.layer("Permute", dims=dims), y, shape=(height, width, channels))
        yield y


def _each(model: _Model, layer: _Layer, inputs: list[Tensor], shape: Shape) -> list[Tensor]:
    return [model.call(layer, x, shape=shape) for x in inputs]


def _chain(model: _Model, chain: Network | layers.Residual, inputs: list[Tensor]) -> list[Tensor]:
    """The layers of a network, applied to every view."""
    for module, shape in zip(chain, chain.output_shapes, strict=True):
        if isinstance(module, layers.Residual):
            inner = _chain(model, module, inputs)
            add = model.layer("Add")
            inputs = [model.call(add, x, y, shape=shape) for x, y in zip(inputs, inner, strict=True)]
            continue
        kind, weights, config = _layer(module)
        inputs = _each(model, model.layer(kind, weights, **config), inputs, shape)
    return inputs


def _layer(module: nn.Module) -> tuple[str, list[np.ndarray], dict[str, Any]]:
    """Keras's name, weights and arguments of a layer."""
    match module:
        case layers.Dense():
            arrays = [_array(module.weight).T, *_bias(module)]
            return "Dense", arrays, {"units": module.out_features, "activation": module.activation,
                                     "use_bias": module.bias is not None}  # fmt: skip
        case layers.Conv2D() | layers.Whitening():
            arrays = [_array(module.weight).transpose(2, 3, 1, 0), *_bias(module)]
            config = {
                "filters": module.out_channels, "kernel_size": list(module.kernel_size), "strides": list(module.stride),
                "padding": _conv_padding(module), "activation": module.activation, "use_bias": module.bias is not None,
            }  # fmt: skip
            return "Conv2D", arrays, config | ({"trainable": False} if isinstance(module, layers.Whitening) else {})
        case layers.MaxPooling2D() | layers.AveragePooling2D():
            padding = "same" if any(module.pad) else "valid"
            config = {"pool_size": list(module.pool), "strides": list(module.strides), "padding": padding}
            return type(module).__name__, [], config
        case layers.BatchNormalization():
            arrays = [_array(t) for t in (module.weight, module.bias, module.running_mean, module.running_var)]
            return "BatchNormalization", arrays, {"epsilon": module.eps, "momentum": 1 - (module.momentum or 0)}
        case layers.Activation():
            return "Activation", [], {"activation": module.activation}
        case nn.Dropout():
            return "Dropout", [], {"rate": module.p}
        case layers.Flatten() | layers.GlobalAveragePooling2D() | layers.GlobalMaxPooling2D():
            return type(module).__name__, [], {}
    raise AssertionError(f"unreachable: {type(module).__name__} is no layer of a recipe")


def _conv_padding(module: layers.Conv2D | layers.Whitening) -> str:
    return "same" if isinstance(module, layers.Conv2D) and any(module.pad) else "valid"


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float32)


def _bias(module: nn.Linear | nn.Conv2d) -> list[np.ndarray]:
    return [] if module.bias is None else [_array(module.bias)]


def _model_config(listed: list[_Layer], output: Tensor, name: str) -> dict[str, Any]:
    entries = []
    for each in listed:
        nodes = [
            {"args": [[t.to_config() for t in tensors] if len(tensors) > 1 else tensors[0].to_config()], "kwargs": {}}
            for tensors in each.calls
        ]
        about = {"module": "keras.layers", "class_name": each.kind, "registered_name": None, "name": each.name}
        entries.append({**about, "config": each.config, "inbound_nodes": nodes})
    config = {
        "name": name, "trainable": True, "layers": entries, "input_layers": [[listed[0].name, 0, 0]],
        "output_layers": [[output.layer, output.call, 0]],
    }  # fmt: skip
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": config,
        "registered_name": "Functional",
    }


def _weights(listed: list[_Layer]) -> bytes:
    import h5py

    buffer = io.BytesIO()
    counts: dict[str, int] = {}
    with h5py.File(buffer, "w", track_order=False) as file:
        file.create_group("vars")
        for each in listed:
            base = snake_case(each.kind)
            count = counts[base] = counts.get(base, -1) + 1
            group = file.create_group(f"layers/{f'{base}_{count}' if count else base}/vars")
            for i, values in enumerate(each.weights):
                group.create_dataset(str(i), data=np.ascontiguousarray(values))
    return buffer.getvalue()
