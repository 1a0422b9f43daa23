"""A head on a pretrained network: trained on features that are computed once, and complete in its run folder."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import misread
from exported import FEATURES, export, small_network
from misread.data.image_set import ImageSet
from misread.errors import RecipeError, RunError
from misread.models.backbone import Backbone
from misread.training.callbacks import Callback
from misread.training.device import using_threads
from misread.training.events import StepsDone
from samples import Result, blocks

pytestmark = pytest.mark.usefixtures("without_pictures")

HEAD = ("epochs=4", "batch_size=32", "optimizer.learning_rate=0.02")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with using_threads(1):
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(small_network(), tmp_path_factory.mktemp("backbone") / "small.pt2")


@pytest.fixture
def backbone(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may move or change."""
    copy = tmp_path / "small.pt2"
    copy.write_bytes(exported.read_bytes())
    return copy


@pytest.fixture
def data() -> ImageSet:
    """Grey images, smaller than the network's."""
    return ImageSet.from_arrays(*blocks(200), test=blocks(80, seed=1), name="blocks")


def train(data: Any, backbone: Path | None, *more: str, **arguments: Any) -> misread.Run:
    given = {"out": "runs", "progress": False, "settings": [*HEAD, *more], **arguments}
    return misread.train(data, backbone=str(backbone) if backbone else None, **given)


class Computed:
    """Counts the images whose features are computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, plain = 0, Backbone._compute

        def counted(backbone: Backbone, images: np.ndarray) -> np.ndarray:
            self.images += len(images)
            return plain(backbone, images)

        monkeypatch.setattr(Backbone, "_compute", counted)


def plain_features(images: np.ndarray, network: nn.Module) -> torch.Tensor:
    """Grey images to three channels of 12x12, scaled to [0, 1], through the network that was exported."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    x = F.interpolate(x.repeat(1, 3, 1, 1), (12, 12), mode="bilinear")
    with torch.no_grad():
        return network(x)


def test_a_run_predicts_by_its_head_on_the_features_of_the_network(data: ImageSet, backbone: Path) -> None:
    run = train(data, backbone)
    assert run.record.recipe == "head"
    assert run.metrics["test"]["accuracy"] > 0.9  # random features are enough for blocks
    weights = load_file(run.folder / "model.safetensors")
    assert {name.partition(".")[0] for name in weights} == {"head"}
    head = {name.removeprefix("head."): tensor for name, tensor in weights.items()}
    x = plain_features(data.test.images, small_network())
    norm = "batch_normalization."
    x = F.batch_norm(
        x, head[norm + "running_mean"], head[norm + "running_var"], head[norm + "weight"], head[norm + "bias"], eps=1e-3
    )
    expected = (x @ head["dense.weight"].T + head["dense.bias"]).softmax(dim=1).numpy()
    np.testing.assert_allclose(run.predict(data.test.images), expected, atol=1e-5)
    again = misread.open_run(run.folder, data=data)
    np.testing.assert_array_equal(again.predict(data.test.images), run.predictions().probs)
    again.report()
    assert "small.pt2, frozen, SHA-256" in (run.folder / "report.html").read_text()
    assert again.misreads.table is not None
    assert run.summary.layers[0].output_shape == (FEATURES,)
    assert (
        run.record.model.parameters
        == run.record.model.trainable
        + sum(t.numel() for t in small_network().state_dict().values() if t.is_floating_point())
        + 2 * FEATURES
    )  # fixed are the backbone and the moving averages of the head


def test_features_are_computed_once_also_for_other_trainings(
    data: ImageSet, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = Computed(monkeypatch)
    train(data, backbone)
    assert computed.images == 280
    run = train(data, backbone, "seed=1", "members=2")  # another validation split
    run.report()
    misread.cross_val_predict(
        data, "head", folds=3, progress=False, settings={"backbone.name": str(backbone), "epochs": 1}
    )
    assert computed.images == 280
    other = ImageSet.from_arrays(*blocks(200), test=blocks(90, seed=1), name="ten more")
    train(other, backbone)
    assert computed.images == 290


def test_a_damaged_file_in_the_cache_is_computed_again(
    data: ImageSet, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = Computed(monkeypatch)
    first = train(data, backbone)
    largest = max(Path(misread.data.download.cache_folder()).rglob("*.safetensors"), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-5])
    second = train(data, backbone)
    assert computed.images == 280 + 200
    np.testing.assert_array_equal(first.predictions().probs, second.predictions().probs)


class StopAfter(Callback):
    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_steps(self, event: StepsDone) -> None:
        self.left -= event.step
        if self.left <= 0:
            event.state.stop("interrupted")


def test_an_interrupted_head_resumes_and_a_run_is_reproduced_bit_for_bit(data: ImageSet, backbone: Path) -> None:
    np.savez("blocks.npz", x_train=data.train.images, y_train=data.train.labels,
             x_test=data.test.images, y_test=data.test.labels)  # fmt: skip
    whole = train("blocks.npz", backbone)
    assert misread.reproduce(whole, progress=False).exact
    interrupted = train("blocks.npz", backbone, callbacks=[StopAfter(3)])
    assert interrupted.record.status == "interrupted"
    resumed = misread.resume(interrupted.folder, progress=False)
    np.testing.assert_array_equal(resumed.predictions().probs, whole.predictions().probs)


def test_a_missing_moved_or_changed_backbone_is_named(data: ImageSet, backbone: Path, tmp_path: Path) -> None:
    run = train(data, backbone)
    images, expected = data.test.images, run.predictions().probs
    moved = backbone.rename(tmp_path / "moved.pt2")
    with pytest.raises(RunError, match=r"cannot be built: There is no backbone file .*small.pt2") as caught:
        misread.open_run(run.folder).predict(images)
    assert f"change backbone.name in {run.folder / 'recipe.toml'}" in str(caught.value)
    assert len(misread.open_run(run.folder).predictions().probs) == 80  # those in the folder need no network
    recipe = run.folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("small.pt2", "moved.pt2"))
    np.testing.assert_array_equal(misread.open_run(run.folder).predict(images), expected)
    export(small_network(seed=1), moved)
    with pytest.raises(RunError, match=r"moved.pt2 has other weights than before: SHA-256 \w{12}, not \w{12}"):
        misread.open_run(run.folder).predict(images)


def test_fine_tuning_trains_all_weights_and_stores_them(data: ImageSet, backbone: Path) -> None:
    run = train(data, backbone, "epochs=2", fine_tune=True)
    assert run.record.recipe == "fine-tune"
    assert run.record.engine.name == "torch"
    stored = load_file(run.folder / "model.safetensors")
    before = small_network().state_dict()
    changed = next(t for name, t in stored.items() if name.endswith("0.weight") and t.shape == before["0.weight"].shape)
    assert not torch.equal(changed, before["0.weight"])
    torch.testing.assert_close(changed, before["0.weight"], atol=0.5, rtol=0)
    np.testing.assert_array_equal(misread.open_run(run.folder).predict(data.test.images), run.predictions().probs)
    assert run.record.model.trainable > train(data, backbone).record.model.trainable


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augmentation.flip": True}, "augmentation: the features of a frozen backbone are computed once"),
        ({"backbone.fine_tune": True, "members": 2}, "members: a backbone is fine-tuned in a single network"),
        ({"backbone.size": 16}, "has a fixed size; leave backbone.size out"),
        ({"backbone.name": "resnet18"}, "There is no backbone 'resnet18'. Use timm:NAME, timm:NAME=FILE"),
        ({"backbone.nam": "resnet18"}, "there is no such setting"),
    ],
)
def test_a_backbone_that_cannot_be_used_is_refused(
    settings: dict[str, Any], message: str, data: ImageSet, backbone: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        misread.train(data, "head", settings={"backbone.name": str(backbone), **settings}, progress=False)
    assert message in str(caught.value)


def test_layers_for_images_are_refused_with_a_backbone(data: ImageSet, backbone: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"Layer 1 \(Conv2D\).*\nWith a backbone the layers get its 24 features instead"
    ):
        train(data, backbone, recipe="fast")


def test_a_backbone_and_a_network_exclude_each_other(data: ImageSet, backbone: Path) -> None:
    with pytest.raises(RecipeError, match="exclude each other"):
        train(data, backbone, network=nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))


def test_the_command_line_trains_and_predicts_with_a_backbone(
    idx_folder: Path, backbone: Path, cli: Callable[..., Result]
) -> None:
    trained = cli("train", idx_folder, "--backbone", backbone, "--epochs", 2)
    assert trained.code == 0, trained.err
    assert "head on" in trained.out
    assert "Features by" in trained.err
    run = next(Path("runs").iterdir())
    assert json.loads((run / "run.json").read_text())["engine"]["name"] == "torch"
    for arguments in (("evaluate", run), ("misreads", run), ("report", run), ("reproduce", run)):
        done = cli(*arguments)
        assert done.code == 0, done.err
    cached = cli("data", "cache")
    assert "features" in cached.out
    assert "small.pt2" in cached.out
    cli("data", "cache", "--clear")
    assert "features" not in cli("data", "cache").out
    refused = cli("train", idx_folder, "--fine-tune")
    assert refused.code == 2
    assert "There is no backbone to fine-tune. Name one, for example --backbone timm:resnet18." in refused.err
