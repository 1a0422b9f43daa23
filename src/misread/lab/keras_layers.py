"""The Keras layers that can be opened: what each does to a shape, which weights it has, and its torch module.

A layer's class name is only looked up in `KNOWN`. An argument that would change the layer's output and is not
understood is refused. Between modules images are (B, C, H, W), as in `misread.models.layers`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misread.errors import RunError
from misread.models import layers
from misread.models.shapes import window_output

Shape = tuple[int, ...]
Arrays = Sequence[np.ndarray]

MODELS = ("Sequential", "Functional", "Model")
IDENTITY = (  # when predicting
    "InputLayer", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "RandomContrast",
    "RandomBrightness", "RandomShear", "RandomErasing",
)  # fmt: skip
MAX_SAME_KERNEL = 16  # or the size of the image, if that is larger
MAX_SIZE = 2**26  # numbers in a layer's output for one image
FLOAT_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True)
class Plan:
    """A layer with a known input shape.

    shape: of its output, without the batch. weights: their shapes, in Keras's order.
    build: these weights to the module. output: what the numbers are: `softmax`, `sigmoid`, `linear` or another.
    """

    shape: Shape
    weights: tuple[Shape, ...]
    build: Callable[[Arrays], nn.Module]
    output: str | None = None


class Function(nn.Module):
    """A layer without weights."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class LastAxisDense(nn.Module):
    """A dense layer on the channels of images, or on the last axis of (B, H, W)."""

    def __init__(self, dense: layers.Dense) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(self.dense(channels_last(x)))


def channels_last(x: Tensor) -> Tensor:
    """Keras's order: images (B, C, H, W) to (B, H, W, C); others stay."""
    return x.movedim(1, -1) if x.ndim == 4 else x


def channels_first(x: Tensor) -> Tensor:
    return x.movedim(-1, 1) if x.ndim == 4 else x


def config_of(serialised: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a serialised object. Raises RunError: it is not one of Keras's own."""
    kind, module, registered = (serialised.get(k) for k in ("class_name", "module", "registered_name"))
    if module is not None and (not isinstance(module, str) or module.split(".")[0] not in ("keras", "tf_keras")):
        raise RunError(
            f"it names the class {str(kind)[:80]!r} of the module {str(module)[:80]!r}, which is not Keras's"
        )
    if registered not in (None, kind):
        raise RunError(f"it names the custom object {str(registered)[:80]!r}")
    config = serialised.get("config")
    if not isinstance(config, dict):
        raise RunError(f"the arguments of a {str(kind)[:80]!r} are missing")
    return config


def plan_layer(kind: str, name: str, config: Mapping[str, Any], shapes: Sequence[Shape]) -> Plan:
    """The plan of a layer of `KNOWN`.

    shapes: of its inputs. Raises RunError: an argument or an input shape that cannot be used; it names the layer.
    """
    try:
        refuse_foreign(config)
        _check_policy(config.get("dtype"))
        if config.get("data_format") not in (None, "channels_last"):
            raise RunError(f"data_format is {config['data_format']!r}; only channels_last can be opened")
        if len(shapes) > 1 and kind not in ("Add", "Average"):
            raise RunError(f"it gets {len(shapes)} inputs")
        plan = KNOWN[kind](config, *shapes) if kind in ("Add", "Average") else KNOWN[kind](config, shapes[0])
        if math.prod(plan.shape) > MAX_SIZE or max(map(math.prod, plan.weights), default=0) > 2**40:
            raise RunError(f"its output of {plan.shape} is too large")
    except RunError as error:
        raise RunError(f"the layer {name[:80]!r} ({kind}): {error}") from None
    return plan


def refuse_foreign(value: Any) -> None:
    """Raises RunError: an object inside a layer's arguments that is not Keras's own, or a function."""
    if isinstance(value, dict):
        kind = value.get("class_name")
        if kind in ("function", "__lambda__", "__typespec__", "__numpy__", "__tensor__"):
            named = str(value.get("registered_name") or kind)[:80]
            raise RunError(f"it names {named!r} {str(value.get('config'))[:80]!r}, which is not Keras's own")
        if "class_name" in value:
            config_of(value)
        for inner in value.values():
            refuse_foreign(inner)
    elif isinstance(value, list):
        for inner in value:
            refuse_foreign(inner)


def _check_policy(dtype: Any) -> None:
    name = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
    if name is not None and name not in FLOAT_POLICIES and name not in ("uint8", "int32", "float16", "float64"):
        raise RunError(f"its dtype is {str(name)[:80]!r}; layers of {', '.join(FLOAT_POLICIES)} can be opened")


def _number(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise RunError(f"{key} is {str(value)[:80]}, but must be a number")
    return float(value)


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or not 1 <= value < 2**31:
        raise RunError(f"{key} is {str(value)[:80]}, but must be a whole number above 0")
    return value


def _pair(config: Mapping[str, Any], key: str, default: Any = None) -> tuple[int, int]:
    value = config.get(key)
    value = default if value is None else value
    both = [value, value] if type(value) is int else value
    if not isinstance(both, list | tuple) or len(both) != 2 or not all(type(n) is int and 1 <= n < 2**31 for n in both):
        raise RunError(f"{key} is {str(value)[:80]}, but must be two whole numbers above 0")
    return both[0], both[1]


def _only(config: Mapping[str, Any], key: str, *allowed: Any) -> None:
    """Raises RunError: an argument that would change the output has a value other than these."""
    if key in config and config[key] not in allowed:
        raise RunError(f"{key}={str(config[key])[:80]} cannot be opened; only {' or '.join(map(str, allowed))}")


def _activation(config: Mapping[str, Any]) -> str:
    name = config.get("activation") or "linear"
    if not isinstance(name, str) or name not in layers.ACTIVATIONS:
        raise RunError(f"the activation {str(name)[:80]!r} cannot be opened; only {', '.join(layers.ACTIVATIONS)}")
    return name


def _image(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise RunError(f"it needs images (H, W, C), but gets {shape}")
    return shape[0], shape[1], shape[2]


def _function(shape: Shape, function: Callable[..., Tensor], output: str | None = None) -> Plan:
    return Plan(shape, (), lambda arrays: Function(function), output)


def _identity(config: Mapping[str, Any], shape: Shape) -> Plan:
    return Plan(shape, (), lambda arrays: nn.Identity(), "same")


def _rescaling(config: Mapping[str, Any], shape: Shape) -> Plan:
    def values(key: str, default: float) -> Tensor:
        given = config.get(key, default)
        if not isinstance(given, list):
            return torch.tensor(_number(config, key, default))
        if len(given) != shape[-1] or not all(type(v) in (int, float) and math.isfinite(v) for v in given):
            raise RunError(f"{key} is {str(given)[:80]}, but must be a number, or one for each of {shape[-1]} channels")
        return torch.tensor(given, dtype=torch.float32)

    scale, offset = values("scale", 1), values("offset", 0)
    return _function(shape, lambda x: channels_first(channels_last(x) * scale + offset), "rescaled")


def _reshape(config: Mapping[str, Any], shape: Shape) -> Plan:
    size, target = math.prod(shape), config.get("target_shape")
    if not isinstance(target, list) or not all(type(n) is int and (n > 0 or n == -1) for n in target) or not target:
        raise RunError(f"target_shape is {str(target)[:80]}")
    known = math.prod(n for n in target if n != -1)
    found = tuple(size // known if n == -1 else n for n in target)
    if target.count(-1) > 1 or math.prod(found) != size or len(found) > 3:
        raise RunError(f"it cannot make {target} of {shape}")
    return _function(found, lambda x: channels_first(channels_last(x).reshape(len(x), *found)))


def _flatten(config: Mapping[str, Any], shape: Shape) -> Plan:
    return _function((math.prod(shape),), lambda x: channels_last(x).flatten(1), "same")


def _permute(config: Mapping[str, Any], shape: Shape) -> Plan:
    dims = config.get("dims")
    if not isinstance(dims, list) or sorted(map(str, dims)) != [str(n + 1) for n in range(len(shape))]:
        raise RunError(f"dims is {str(dims)[:80]}, which is no order of {len(shape)} axes")
    order = [0, *(int(n) for n in dims)]
    return _function(tuple(shape[n - 1] for n in order[1:]), lambda x: channels_first(channels_last(x).permute(*order)))


def _dense(config: Mapping[str, Any], shape: Shape) -> Plan:
    units, activation, bias = _count(config, "units"), _activation(config), bool(config.get("use_bias", True))
    _only(config, "lora_rank", None)
    _only(config, "quantization_config", None)
    if activation == "softmax" and len(shape) > 1:
        raise RunError(f"a softmax over the last axis of {shape} cannot be opened. Put a Flatten layer before it")
    weights: tuple[Shape, ...] = ((shape[-1], units), (units,)) if bias else ((shape[-1], units),)

    def build(arrays: Arrays) -> nn.Module:
        dense = layers.Dense(shape[-1], units, activation, bias)
        _load(dense, arrays[0].T, arrays[1:])
        return dense if len(shape) == 1 else LastAxisDense(dense)

    return Plan((*shape[:-1], units), weights, build, activation)


def _conv2d(config: Mapping[str, Any], shape: Shape) -> Plan:
    height, width, channels = _image(shape)
    filters, kernel, strides = _count(config, "filters"), _pair(config, "kernel_size"), _pair(config, "strides", 1)
    activation, bias, padding = _activation(config), bool(config.get("use_bias", True)), _padding(config)
    _only(config, "groups", 1)
    _only(config, "dilation_rate", 1, [1, 1])
    _only(config, "lora_rank", None)
    _only(config, "quantization_config", None)
    out = _windows(padding, (height, width), kernel, strides)
    weights: tuple[Shape, ...] = ((*kernel, channels, filters),)

    def build(arrays: Arrays) -> nn.Module:
        module = layers.Conv2D(channels, (height, width), filters, kernel, strides, padding, activation, bias)
        _load(module, arrays[0].transpose(3, 2, 0, 1), arrays[1:])
        return module

    return Plan((*out, filters), (*weights, (filters,)) if bias else weights, build, activation)


def _load(module: nn.Linear | nn.Conv2d, kernel: np.ndarray, rest: Arrays) -> None:
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
        if module.bias is not None:
            module.bias.copy_(torch.from_numpy(rest[0]))


def _padding(config: Mapping[str, Any]) -> str:
    _only(config, "padding", "valid", "same")
    return str(config.get("padding", "valid"))


def _windows(
    padding: str, shape: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int]
) -> tuple[int, int]:
    if any(k > max(size, MAX_SAME_KERNEL) for k, size in zip(kernel, shape, strict=True)):  # the padding would be large
        raise RunError(f"its window of {kernel} is larger than its input of {shape}")
    down, across = (window_output(padding, s, k, t) for s, k, t in zip(shape, kernel, strides, strict=True))
    if min(down, across) < 1:
        raise RunError(f"its window of {kernel} is larger than its input of {shape}")
    return down, across


def _pooling(make: type[layers.MaxPooling2D] | type[layers.AveragePooling2D]) -> Callable[..., Plan]:
    def plan(config: Mapping[str, Any], shape: Shape) -> Plan:
        height, width, channels = _image(shape)
        pool = _pair(config, "pool_size", 2)
        strides, padding = _pair(config, "strides", pool), _padding(config)
        out = _windows(padding, (height, width), pool, strides)
        return Plan((*out, channels), (), lambda arrays: make((height, width), pool, strides, padding), "linear")

    return plan


def _global_pooling(function: Callable[[Tensor, bool], Tensor]) -> Callable[..., Plan]:
    def plan(config: Mapping[str, Any], shape: Shape) -> Plan:
        channels, keep = _image(shape)[2], bool(config.get("keepdims", False))
        return _function((1, 1, channels) if keep else (channels,), lambda x: function(x, keep), "linear")

    return plan


def _batch_normalization(config: Mapping[str, Any], shape: Shape) -> Plan:
    axis = config.get("axis", -1)
    if axis not in (-1, len(shape), [-1], [len(shape)]) or len(shape) == 2:
        raise RunError(f"axis is {str(axis)[:80]} for an input of {shape}; only the last can be opened")
    _only(config, "renorm", False)
    scale, centre, channels = bool(config.get("scale", True)), bool(config.get("center", True)), shape[-1]
    epsilon = _number(config, "epsilon", 1e-3)

    def build(arrays: Arrays) -> nn.Module:
        left = [torch.from_numpy(a) for a in arrays]
        module = layers.BatchNormalization(channels, 0.99, epsilon)
        with torch.no_grad():
            module.weight.copy_(left.pop(0) if scale else torch.ones(channels))
            module.bias.copy_(left.pop(0) if centre else torch.zeros(channels))
        module.load_state_dict({"running_mean": left[0], "running_var": left[1]}, strict=False)
        return module

    return Plan(shape, ((channels,),) * (2 + scale + centre), build, "linear")


def _activation_layer(config: Mapping[str, Any], shape: Shape) -> Plan:
    name = _activation(config)
    if name == "softmax" and len(shape) == 2:
        raise RunError(f"a softmax over the last axis of {shape} cannot be opened")
    return Plan(shape, (), lambda arrays: layers.Activation(name), "same" if name == "linear" else name)


def _softmax(config: Mapping[str, Any], shape: Shape) -> Plan:
    _only(config, "axis", -1, [-1], len(shape))
    return _activation_layer({"activation": "softmax"}, shape)


def _relu(config: Mapping[str, Any], shape: Shape) -> Plan:
    slope, threshold = (
        _number(config, key, 0) if config.get(key) is not None else 0.0 for key in ("negative_slope", "threshold")
    )
    top = math.inf if config.get("max_value") is None else _number(config, "max_value", 0)
    if threshold:
        raise RunError(f"threshold={threshold:g} cannot be opened; only 0")
    return _function(shape, lambda x: F.leaky_relu(x, slope).clamp(max=top), "relu")


def _leaky_relu(config: Mapping[str, Any], shape: Shape) -> Plan:
    slope = _number(config, "negative_slope" if "negative_slope" in config else "alpha", 0.3)  # alpha in Keras 2
    return _function(shape, lambda x: F.leaky_relu(x, slope), "leaky_relu")


def _merge(function: Callable[..., Tensor], output: str) -> Callable[..., Plan]:
    def plan(config: Mapping[str, Any], *shapes: Shape) -> Plan:
        if len(set(shapes)) != 1:
            raise RunError(f"its inputs have different shapes: {', '.join(map(str, shapes[:4]))}")
        return _function(shapes[0], function, output)

    return plan


def _mean(*inputs: Tensor) -> Tensor:
    return torch.stack(inputs).mean(dim=0)


KNOWN: dict[str, Callable[..., Plan]] = {
    **dict.fromkeys(IDENTITY, _identity),
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Permute": _permute,
    "Flatten": _flatten,
    "Dense": _dense,
    "Conv2D": _conv2d,
    "MaxPooling2D": _pooling(layers.MaxPooling2D),
    "AveragePooling2D": _pooling(layers.AveragePooling2D),
    "GlobalAveragePooling2D": _global_pooling(lambda x, keep: x.mean(dim=(2, 3), keepdim=keep)),
    "GlobalMaxPooling2D": _global_pooling(lambda x, keep: x.amax(dim=(2, 3), keepdim=keep)),
    "BatchNormalization": _batch_normalization,
    "Activation": _activation_layer,
    "Softmax": _softmax,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "Add": _merge(lambda *inputs: sum(inputs[1:], start=inputs[0]), "linear"),
    "Average": _merge(_mean, "same"),
}
