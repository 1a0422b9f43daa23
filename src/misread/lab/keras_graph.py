"""The layers of a Keras model and the order of their calls, from its configuration."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from misread.errors import RunError
from misread.lab.keras_layers import KNOWN, MODELS, Shape, config_of

MAX_LAYERS = 1000
MAX_CALLS = 20_000
MAX_NESTED = 4  # models in models

Key = tuple[str, int]  # (layer, number of the call): a tensor in the model


@dataclass(frozen=True)
class Layer:
    """A layer, before its input shape is known.

    path: of its weights in a `.keras` file, like ("layers", "dense_1"). name: its own, unique within its model.
    """

    kind: str
    name: str
    path: tuple[str, ...]
    config: Mapping[str, Any]
    inner: "Graph | None" = None  # of a nested model


@dataclass(frozen=True)
class Call:
    """A layer applied to tensors; the result has the key `to`."""

    layer: Layer
    inputs: tuple[Key, ...]
    to: Key


@dataclass(frozen=True)
class Graph:
    """The calls of a model, in an order in which they can be made. The model has one input and one output.

    input_shape: in Keras's order without the batch; None for a nested model that takes what it is given.
    """

    input: Key
    input_shape: Shape | None
    calls: tuple[Call, ...]
    output: Key
    layers: tuple[Layer, ...] = field(default=())


def read_graph(model: Mapping[str, Any], path: tuple[str, ...] = (), depth: int = 0) -> Graph:
    """The graph of a model's configuration. Raises RunError: an unknown layer, or calls that cannot be made."""
    if depth > MAX_NESTED:
        raise RunError(f"more than {MAX_NESTED} models are nested in each other")
    kind = model.get("class_name")
    if kind not in MODELS:
        raise RunError(f"it is a {kind!r}. Only Sequential and Functional models can be opened")
    config = config_of(model)
    listed = config.get("layers")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise RunError("its list of layers is missing")
    if len(listed) > MAX_LAYERS:
        raise RunError(f"it has {len(listed):,} layers; {MAX_LAYERS:,} are allowed")
    layers = tuple(_layers(listed, path, depth))
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise RunError("two of its layers have the same name")
    if kind == "Sequential":
        return _sequential(config, layers)
    return _functional(config, listed, layers)


def _layers(listed: list[dict[str, Any]], path: tuple[str, ...], depth: int) -> Iterator[Layer]:
    """The layers with the paths that Keras gives to their weights: dense, dense_1, ..., by class, not by name."""
    counts: dict[str, int] = {}
    for each in listed:
        kind = each.get("class_name")
        config = config_of(each)
        name = config.get("name", each.get("name"))
        if not isinstance(kind, str) or (kind not in KNOWN and kind not in MODELS):
            raise RunError(
                f"the layer {str(name)[:80]!r} is a {str(kind)[:80]!r}. The layers that can be opened are "
                f"{', '.join(KNOWN)}"
            )
        if not isinstance(name, str):
            raise RunError(f"a {kind} layer has no name")
        base = snake_case(kind)
        count = counts[base] = counts.get(base, -1) + 1
        own = (*path, "layers", f"{base}_{count}" if count else base)
        yield Layer(kind, name, own, config, read_graph(each, own, depth + 1) if kind in MODELS else None)


def snake_case(kind: str) -> str:
    """Keras's name of a class: `max_pooling2d` of MaxPooling2D."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()


def _sequential(config: Mapping[str, Any], layers: tuple[Layer, ...]) -> Graph:
    key: Key = ("", 0)
    input_shape = _batch_shape(config.get("build_input_shape"))
    calls = []
    for position, layer in enumerate(layers):
        given = _batch_shape(layer.config.get("batch_shape", layer.config.get("batch_input_shape")))
        if given and position == 0:
            input_shape = given
        if layer.kind == "InputLayer":
            if position:
                raise RunError(f"the input {layer.name!r} comes after other layers")
            continue
        if layer.inner and position == 0 and input_shape is None:
            input_shape = layer.inner.input_shape
        to = (layer.name, 0)
        calls.append(Call(layer, (key,), to))
        key = to
    return Graph(("", 0), input_shape, tuple(calls), key, layers)


def _functional(config: Mapping[str, Any], listed: list[dict[str, Any]], layers: tuple[Layer, ...]) -> Graph:
    inputs = [layer for layer in layers if layer.kind == "InputLayer"]
    if len(inputs) != 1:
        raise RunError(f"it has {len(inputs)} inputs, but can only be opened with one")
    start: Key = (inputs[0].name, 0)
    made, waiting = {start}, list(_calls(listed, layers))
    if len(waiting) > MAX_CALLS:
        raise RunError(f"it has {len(waiting):,} calls of layers; {MAX_CALLS:,} are allowed")
    calls: list[Call] = []
    while waiting:
        ready = [call for call in waiting if made.issuperset(call.inputs)]
        if not ready:
            raise RunError(f"the input of the layer {waiting[0].layer.name!r} is missing, or its calls form a circle")
        calls += ready
        made.update(call.to for call in ready)
        waiting = [call for call in waiting if call.to not in made]
    output = _only_key(config.get("output_layers"))
    if output not in made:
        raise RunError(f"its output {output[0]!r} is none of its layers")
    return Graph(start, _batch_shape(inputs[0].config.get("batch_shape", inputs[0].config.get("batch_input_shape"))),
                 tuple(calls), output, layers)  # fmt: skip


def _calls(listed: list[dict[str, Any]], layers: tuple[Layer, ...]) -> Iterator[Call]:
    for each, layer in zip(listed, layers, strict=True):
        nodes = each.get("inbound_nodes", [])
        if not isinstance(nodes, list):
            raise RunError(f"the calls of the layer {layer.name!r} are no list")
        for number, node in enumerate(nodes):
            keys = tuple(_keys(node, layer.name))
            if not keys or layer.kind == "InputLayer":
                raise RunError(f"the layer {layer.name!r} has a call that cannot be understood")
            yield Call(layer, keys, (layer.name, number))


def _keys(node: Any, layer: str) -> Iterator[Key]:
    """The inputs of a call, as Keras 3 writes it (`args` and `kwargs`) or as Keras 2 does ([[name, 0, 0, {}], ...])."""
    if isinstance(node, dict):
        given, pending = node.get("kwargs") or {}, node.get("args")
        if not isinstance(given, dict) or not isinstance(pending, list):
            raise RunError(f"the layer {layer!r} has a call that cannot be understood")
        # `training` may be true after clone_model; Keras's predict replaces it
        if odd := sorted(k for k, v in given.items() if k != "training" and not (k == "mask" and v is None)):
            raise RunError(f"the layer {layer!r} is called with arguments other than its input: {', '.join(odd)[:80]}")
        pending = list(pending)
        while pending:
            value = pending.pop(0)
            if isinstance(value, list):
                pending = [*value, *pending]
            elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
                yield _key(config_of(value).get("keras_history"))
            else:
                raise RunError(f"the layer {layer!r} is called with {str(value)[:80]}, which is no tensor of the model")
    elif isinstance(node, list):
        for each in node:
            if isinstance(each, list) and len(each) > 3 and each[3]:
                raise RunError(
                    f"the layer {layer!r} is called with arguments other than its input: {str(each[3])[:80]}"
                )
            yield _key(each)


def _key(history: Any) -> Key:
    match history:
        case [str(name), int(node), int(tensor), *_] if tensor == 0:
            return name, node
    raise RunError(f"{str(history)[:80]} names no tensor of the model")


def _only_key(outputs: Any) -> Key:
    if isinstance(outputs, list) and len(outputs) == 1 and isinstance(outputs[0], list):
        outputs = outputs[0]
    if not isinstance(outputs, list) or any(isinstance(each, list | dict) for each in outputs):
        raise RunError("it has several outputs, but can only be opened with one")
    return _key(outputs)


def _batch_shape(value: Any) -> Shape | None:
    """The shape without the batch. Raises RunError: a size is not known."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(n) is int and n > 0 for n in value[1:]) or len(value) < 2:
        raise RunError(f"its input shape {str(value)[:80]} is no known size. Save the model with a fixed input shape")
    return tuple(value[1:])
