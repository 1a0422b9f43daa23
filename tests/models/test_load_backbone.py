"""Backbones by name: from timm, with weights from a file, or from a file of torch.export."""

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from exported import export, small_network
from misread.errors import RecipeError
from misread.models.backbone import Backbone, n_features
from misread.models.load_backbone import load_backbone
from samples import Result

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def tiny(classes: int) -> nn.Module:
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(4, classes) if classes else nn.Identity()
    return nn.Sequential(OrderedDict(body=body, fc=head))


class FakeTimm(ModuleType):
    """What misread uses of timm, with one small network, and without a network to download from."""

    def __init__(self) -> None:
        super().__init__("timm")
        self.data = SimpleNamespace(resolve_data_config=self._config)
        self.models = SimpleNamespace(load_state_dict=self._load)

    def list_models(self) -> list[str]:
        return ["tiny"]

    def is_model(self, name: str) -> bool:
        return name.partition(".")[0] == "tiny"

    def create_model(self, name: str, pretrained: bool, num_classes: int) -> nn.Module:
        if pretrained:
            raise OSError("[Errno -2] Name or service not known\nand much more")
        network: Any = tiny(num_classes)
        network.pretrained_cfg = {"classifier": "fc"}
        return network

    def _config(self, given: dict[str, Any], model: nn.Module) -> dict[str, Any]:
        return {"input_size": (3, 10, 14), "interpolation": "bicubic", "mean": MEAN, "std": STD}

    def _load(self, path: str, weights_only: bool) -> dict[str, Tensor]:
        assert weights_only
        return load_file(path)


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", FakeTimm())


@pytest.fixture
def weights() -> Path:
    """The weights of `tiny` with its classifier, in the current folder."""
    torch.manual_seed(3)
    save_file(tiny(5).state_dict(), "tiny.safetensors")
    return Path("tiny.safetensors")


@pytest.mark.usefixtures("fake_timm")
def test_a_network_of_timm_gets_images_as_its_configuration_says(weights: Path) -> None:
    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    backbone = load_backbone(f"timm:tiny={weights}")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert backbone.name == f"timm:tiny={weights.resolve()}"
    network = tiny(0)
    network.load_state_dict({k: v for k, v in load_file(weights).items() if k.startswith("body")})
    x = torch.rand(4, 3, 8, 8)
    resized = F.interpolate(x, (10, 14), mode="bicubic", antialias=True).clamp(0, 1)
    expected = network((resized - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    torch.testing.assert_close(backbone(x), expected)
    assert n_features(backbone, (8, 8, 3)) == 4
    grey = x[:, :1]
    torch.testing.assert_close(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))


@pytest.mark.usefixtures("fake_timm")
def test_the_hash_is_that_of_weights_and_preprocessing(weights: Path) -> None:
    first = load_backbone(f"timm:tiny={weights}").sha256
    assert load_backbone(f"timm:tiny={weights.resolve()}", sha256=first).sha256 == first
    assert load_backbone(f"timm:tiny={weights}", size=6).sha256 != first
    changed = load_file(weights)
    changed["body.0.bias"][0] += 1
    save_file(changed, "other.safetensors")
    with pytest.raises(RecipeError, match=r"has other weights than before: SHA-256 \w{12}, not \w{12}. Restore"):
        load_backbone("timm:tiny=other.safetensors", sha256=first)
    load_backbone("timm:tiny=gone.safetensors", sha256=first, pretrained=False)  # only the architecture


@pytest.mark.usefixtures("fake_timm")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"body.0.bias": None},
            "does not fit the network (missing: body.0.bias). Name the network that it belongs to.",
        ),
        ({"body.9.bias": torch.zeros(4)}, "does not fit the network (not in the network: body.9.bias)."),
        ({"body.0.bias": torch.zeros(5)}, "does not fit the network:\n  size mismatch for body.0.bias"),
    ],
)
def test_weights_of_another_network_are_refused(change: dict[str, Tensor | None], message: str, weights: Path) -> None:
    changed = {**load_file(weights), **change}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, "changed.safetensors")
    with pytest.raises(RecipeError) as caught:
        load_backbone("timm:tiny=changed.safetensors")
    assert message in str(caught.value)


@pytest.mark.usefixtures("fake_timm")
def test_an_unknown_network_or_an_unreadable_file_is_named() -> None:
    with pytest.raises(RecipeError, match=r"timm has no network 'tyny'. Did you mean 'tiny'\?"):
        load_backbone("timm:tyny")
    with pytest.raises(RecipeError, match=r"has no file of weights: .*gone.safetensors is missing. Put it there"):
        load_backbone("timm:tiny=gone.safetensors")
    Path("bad.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(RecipeError, match=r"bad.safetensors cannot be read as weights: "):
        load_backbone("timm:tiny=bad.safetensors")


@pytest.mark.usefixtures("fake_timm")
def test_weights_that_cannot_be_downloaded_are_a_user_error_and_nothing_is_written(
    idx_folder: Path, cli: Callable[..., Result]
) -> None:
    done = cli("train", idx_folder, "--backbone", "timm:tiny")
    assert done.code == 2
    assert (
        "The weights of timm:tiny are not on this machine and could not be downloaded: [Errno -2] Name or service not "
        "known\nCheck the network, or download them elsewhere and name the file: timm:tiny=FILE." in done.err
    )
    assert not Path("runs").exists()


def test_without_timm_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError, match=r"needs timm. Install it: pip install 'misread\[backbones\]'"):
        load_backbone("timm:resnet18")


def test_a_timm_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=r"torchvision::nms does not exist\nMost often torchvision was built"):
        load_backbone("timm:resnet18")


def test_an_exported_program_gets_pixels_as_they_are() -> None:
    path = export(small_network(), Path("small.pt2"))
    backbone = load_backbone(str(path))
    x = torch.rand(3, 3, 12, 12)
    torch.testing.assert_close(backbone(x), small_network()(x))
    assert (backbone.size, backbone.channels, n_features(backbone, (5, 5, 1))) == ((12, 12), 3, 24)


def test_a_file_that_is_no_usable_program_is_refused() -> None:
    fixed = export(small_network(), Path("fixed.pt2"), dynamic=False)
    with pytest.raises(RecipeError, match=r"must take any number of images .* but takes \(2, 3, 12, 12\)"):
        load_backbone(str(fixed))
    Path("bad.pt2").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(RecipeError, match=r"bad.pt2 is no file of torch.export.save whose only input"):
        load_backbone("bad.pt2")
    with pytest.raises(RecipeError, match=r"There is no backbone file .*gone.pt2"):
        load_backbone("gone.pt2")


def test_a_network_without_flat_features_or_too_small_an_input_is_refused() -> None:
    def backbone(network: nn.Module, size: int = 8) -> Backbone:
        plain = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "mode": "bilinear"}
        return Backbone(network, name="own", sha256="", channels=3, size=(size, size), **plain)  # type: ignore[arg-type]

    with pytest.raises(RecipeError, match=r"own gives \(2, 4, 6, 6\) for two images, but must give features \(2, D\)"):
        n_features(backbone(nn.Conv2d(3, 4, 3)), (8, 8, 3))
    with pytest.raises(RecipeError, match="own failed for two images of 3 channels and 2x2 pixels"):
        n_features(backbone(nn.Conv2d(3, 4, 3), size=2), (8, 8, 3))


def test_timms_own_network_gives_the_features_that_timm_gives() -> None:
    """With the real timm, where it can be imported."""
    if subprocess.run([sys.executable, "-c", "import timm"], capture_output=True).returncode:
        pytest.skip("timm cannot be imported")
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet10t", pretrained=False)
    save_file(network.state_dict(), "resnet10t.safetensors")
    backbone = load_backbone("timm:resnet10t=resnet10t.safetensors", size=32).eval()
    config = timm.data.resolve_data_config({}, model=network)
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    x = torch.rand(2, 3, 32, 32)
    network.reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), network.eval()((x - mean) / std))
