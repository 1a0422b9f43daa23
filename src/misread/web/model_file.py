"""The network of a run as one binary file, for the forward pass in the browser (`web/network`).

Layout, little-endian: `MAGIC` (8 bytes), the format's version and the length of the header (uint32 each), the header
(UTF-8 JSON, padded with spaces), then the tensors. Tensors begin at multiples of `ALIGNMENT` bytes from the start of
the data, which is the end of the header; the data begins at such a multiple too.
"""

import copy
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from misread.errors import RunError
from misread.models import layers
from misread.models.layer_specs import LayerSpec, Residual
from misread.models.network import Network, network_logits
from misread.models.views import MeanOverViews, without_views
from misread.training.networks import members

MAGIC = b"misreadN"
VERSION = 1
ALIGNMENT = 16
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class RoundingError:
    """What rounded weights change, measured on `images` images.

    largest: the largest difference of a probability. changed: predictions that are no longer the same.
    """

    images: int
    largest: float
    changed: int


def model_bytes(
    network: nn.Module,
    layer_list: Sequence[LayerSpec],
    class_names: Sequence[str],
    image_shape: tuple[int, int, int],
    *,
    geometry: Mapping[str, Any] | None = None,
    precision: Precision = "float32",
    images: np.ndarray | None = None,
) -> bytes:
    """A trained network as the file that `readModel` in `network/model.js` reads.

    network:    as `recipe_network` and `predictor_network` make it; members and views are kept.
    layer_list: the recipe's layers. image_shape: (H, W, C).
    geometry:   of the training images, as in `run.json`; new pictures are fitted to it.
    precision:  of the kernels of dense and convolutional layers. "int8" has one scale for each output channel, so that
                its largest weight is 127. All other tensors are float32.
    images:     (N, H, W, C) uint8. If given, the header says how much rounding changes the predictions of these images,
                as `RoundingError`.
    Raises RunError: the network is none of a recipe's layers alone.
    """
    views = {"shift": network.shift, "flip": network.flip} if isinstance(network, MeanOverViews) else None
    checked = [_checked(member) for member in members(without_views(network))]
    store = _Tensors(precision)
    header = {
        "class_names": list(class_names),
        "image_shape": list(image_shape),
        "geometry": dict(geometry) if geometry else None,
        "precision": precision,
        "views": views,
        "layers": _layers(layer_list, checked[0], tuple(image_shape), checked[0].output_shapes),
        "members": [{name: store.add(name, value) for name, value in _tensors(member)} for member in checked],
        "error": None if images is None else asdict(rounding_error(network, images, precision)),
    }
    header["bytes"] = len(store.data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return MAGIC + struct.pack("<II", VERSION, len(text)) + text + bytes(store.data)


def read_header(file: bytes) -> dict[str, Any]:
    """The header of a file by `model_bytes`."""
    _, length = struct.unpack_from("<II", file, len(MAGIC))
    header: dict[str, Any] = json.loads(file[len(MAGIC) + 8 :][:length])
    return header


@torch.inference_mode()
def rounding_error(network: nn.Module, images: np.ndarray, precision: Precision) -> RoundingError:
    """What the rounding to `precision` changes in the predictions of (N, H, W, C) uint8 images."""
    rounded = copy.deepcopy(network).cpu().eval()
    for module in rounded.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            kernel, scales = _rounded(_kernel(module), precision)
            values = kernel.astype(np.float32) * (1 if scales is None else scales)
            module.weight.copy_(torch.from_numpy(_torch_order(values)))
    batch = torch.from_numpy(np.ascontiguousarray(images))
    before, after = (network_logits(n.cpu().eval(), batch).softmax(dim=1) for n in (copy.deepcopy(network), rounded))
    changed = int((before.argmax(dim=1) != after.argmax(dim=1)).sum())
    return RoundingError(len(images), float((before - after).abs().max()) if len(images) else 0.0, changed)


def _checked(network: nn.Module) -> Network:
    if not isinstance(network, Network):
        raise RunError(
            "This network cannot run in the page: it is not made of a recipe's layers alone. It has a pretrained "
            "backbone, or is a module from Python. Everything that needs no network in the page still works."
        )
    return network


def _layers(
    specs: Sequence[LayerSpec], modules: nn.Sequential, shape: tuple[int, ...], shapes: Sequence[tuple[int, ...]]
) -> list[dict[str, Any]]:
    """The layers for the header, with their shapes in Keras's order without the batch."""
    found = []
    for spec, (name, module), output in zip(specs, modules.named_children(), shapes, strict=True):
        layer: dict[str, Any] = {
            "type": spec.type,
            "name": name,
            "spec": spec.model_dump(exclude={"type", "layers"}),
            "input_shape": shape,
            "output_shape": output,
        }
        if isinstance(spec, Residual) and isinstance(module, layers.Residual):
            layer["layers"] = _layers(spec.layers, module, shape, module.output_shapes)
        found.append(layer)
        shape = output
    return found


def _tensors(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(path of a layer/name, values) of all tensors, with Keras's names and order of dimensions."""
    for name, module in network.named_children():
        path = f"{prefix}{name}/"
        if isinstance(module, layers.Residual):
            yield from _tensors(module, path)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            yield path + "kernel", _kernel(module)
            if module.bias is not None:
                yield path + "bias", _array(module.bias)
        elif isinstance(module, layers.BatchNormalization):
            state = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
            for keras, own in state.items():
                yield path + keras, _array(getattr(module, own))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()


def _kernel(module: nn.Linear | nn.Conv2d) -> np.ndarray:
    """(inputs, units), or (kernel height, kernel width, channels, filters)."""
    weight = _array(module.weight)
    return weight.T if weight.ndim == 2 else weight.transpose(2, 3, 1, 0)


def _torch_order(kernel: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1))


def _rounded(kernel: np.ndarray, precision: Precision) -> tuple[np.ndarray, np.ndarray | None]:
    """The kernel in this precision, and for int8 the scales of the output channels (its last dimension)."""
    if precision != "int8":
        return kernel.astype(np.dtype(precision)), None
    scales = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / np.float32(127)
    scales[scales == 0] = 1
    return np.rint(kernel / scales).astype(np.int8), scales.astype(np.float32)


class _Tensors:
    """The data of the file, and the entries of the header that describe it."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.data = bytearray()

    def add(self, name: str, values: np.ndarray) -> dict[str, Any]:
        scales = None
        if name.endswith("/kernel"):
            values, scales = _rounded(values, self.precision)
        entry = {"shape": list(values.shape), "dtype": values.dtype.name, "offset": self._append(values)}
        return entry if scales is None else {**entry, "scales": self._append(scales)}

    def _append(self, values: np.ndarray) -> int:
        self.data += b"\0" * (-len(self.data) % ALIGNMENT)
        start = len(self.data)
        self.data += np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
        return start
