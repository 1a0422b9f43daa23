"""Loads a backbone: a network of timm, with downloaded weights or weights from a file, or a file of torch.export."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from misread.errors import RecipeError, needing
from misread.models.backbone import Backbone
from misread.names import nearest

TIMM, EXPORTED = "timm:", ".pt2"
FORMS = "Use timm:NAME, timm:NAME=FILE with a file of weights, or the path of a .pt2 file written by torch.export.save."


def load_backbone(name: str, size: int | None = None, sha256: str = "", pretrained: bool = True) -> Backbone:
    """The backbone with this name. torch's global generator is not changed.

    name:       `timm:NAME`, `timm:NAME=FILE`, or the path of a .pt2 file.
    size:       the side that images are resized to, instead of the network's own.
    sha256:     the backbone that is wanted; empty for any. pretrained: False leaves the weights random.
    The `name` of the result has an absolute path in place of a relative one.
    Raises RecipeError: there is no such network or file, its weights do not fit or cannot be had, another `sha256`, or
    the network cannot be applied to images of this size.
    """
    with torch.random.fork_rng(devices=[]):
        if name.startswith(TIMM):
            backbone = _from_timm(name, size, pretrained)
        elif name.endswith(EXPORTED):
            backbone = _from_export(name, size)
        else:
            raise RecipeError(f"There is no backbone {name!r}. {FORMS}")
    if pretrained and sha256 and backbone.sha256 != sha256:
        raise RecipeError(
            f"The backbone {name} has other weights than before: SHA-256 {backbone.sha256[:12]}, not {sha256[:12]}. "
            "Restore the old ones, or train again."
        )
    return backbone


def _from_timm(name: str, size: int | None, pretrained: bool) -> Backbone:
    timm = _import_timm(name)
    model, _, file = name.removeprefix(TIMM).partition("=")
    path = Path(file).expanduser().resolve() if file else None
    if model not in timm.list_models() and not timm.is_model(model):
        raise RecipeError(f"timm has no network {model!r}.{nearest(model, timm.list_models())}")
    if path and pretrained and not path.is_file():
        raise RecipeError(
            f"The backbone {name} has no file of weights: {path} is missing. Put it there, or train again."
        )
    try:
        network = timm.create_model(model, pretrained=pretrained and not path, num_classes=0)
    except Exception as error:  # of the network, of the hub's client, or of the disk
        if not pretrained or path:
            raise RecipeError(f"timm cannot build {model}: {error}") from error
        raise RecipeError(
            f"The weights of {name} are not on this machine and could not be downloaded: {_first_line(error)}\n"
            f"Check the network, or download them elsewhere and name the file: {TIMM}{model}=FILE. Nothing was changed."
        ) from error
    if path and pretrained:
        _load_weights(network, path, timm)
    config = timm.data.resolve_data_config({}, model=network)
    channels, height, width = config["input_size"]
    settings: dict[str, Any] = {
        "channels": channels,
        "size": (size, size) if size else (height, width),
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "mode": "bicubic" if config["interpolation"] == "bicubic" else "bilinear",
    }
    sha256 = _digest(f"{TIMM}{model} {settings}", network.state_dict())
    return Backbone(network, name=f"{TIMM}{model}={path}" if path else name, sha256=sha256, **settings)


def _import_timm(name: str) -> Any:
    try:
        with needing("backbones", f"The backbone {name}", RecipeError):
            import timm

        return timm
    except RecipeError:
        raise
    except Exception as error:  # torchvision, which timm imports, was built for another torch
        raise RecipeError(
            f"The backbone {name} needs timm, which cannot be imported: {_first_line(error)}\n"
            "Most often torchvision was built for another torch. Install both from the same index."
        ) from error


def _load_weights(network: nn.Module, path: Path, timm: Any) -> None:
    """Load the weights in a file. Those of a classifier, which a backbone does not have, are left out."""
    try:
        weights = timm.models.load_state_dict(str(path), weights_only=True)
    except Exception as error:
        raise RecipeError(f"{path} cannot be read as weights: {_first_line(error)}") from error
    config: Any = network.pretrained_cfg
    classifier = config.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # other shapes
        lines = "\n".join(f"  {line.strip()}" for line in str(error).splitlines()[1:4])
        raise RecipeError(f"{path} does not fit the network:\n{lines}") from None
    unexpected = [key for key in unexpected if not key.startswith(tuple(f"{n}." for n in names))]
    if missing or unexpected:
        listed = [f"missing: {', '.join(missing[:3])}"] if missing else []
        listed += [f"not in the network: {', '.join(unexpected[:3])}"] if unexpected else []
        raise RecipeError(
            f"{path} does not fit the network ({'; '.join(listed)}). Name the network that it belongs to."
        )


def _from_export(name: str, size: int | None) -> Backbone:
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise RecipeError(f"There is no backbone file {path}. {FORMS}")
    if size:
        raise RecipeError(f"The backbone {path} has a fixed size; leave backbone.size out.")
    try:
        program = torch.export.load(path)
        (images,) = program.graph_signature.user_inputs
        values = next(node.meta["val"] for node in program.graph.nodes if node.name == images)
        n, channels, height, width = (size if isinstance(size, int) else None for size in values.shape)
    except Exception as error:
        raise RecipeError(
            f"{path} is no file of torch.export.save whose only input is images (B, C, H, W): {_first_line(error)}"
        ) from error
    if n is not None or channels is None or height is None or width is None:
        raise RecipeError(
            f"{path} must take any number of images of one size (B, C, H, W), but takes {tuple(values.shape)}.\n"
            "Export it with dynamic_shapes=({0: torch.export.Dim.AUTO},)."
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Backbone(
        _Evaluating(program.module()),
        name=str(path),
        sha256=sha256,
        channels=channels,
        size=(height, width),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        mode="bilinear",
    )


class _Evaluating(nn.Module):
    """An exported program, which has no training mode and refuses to be asked for one."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> "_Evaluating":
        return self

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.program(x)
        return features


def _digest(text: str, weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(weights):
        tensor = weights[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
