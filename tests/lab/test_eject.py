"""Ejected scripts: plain PyTorch that trains the run's network again."""

import ast
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import misread
from misread.data.label_patch import Fix, write_patch
from misread.engine import kernel_layers
from misread.errors import RunError
from misread.lab.eject import eject
from samples import Result, blocks, write_idx_folder

pytestmark = pytest.mark.usefixtures("without_pictures")

DENSE = {"layers": [{"type": "Flatten"}, {"type": "Dense", "units": "classes"}], "batch_size": 32, "epochs": 2}
# a small network with all that the photographs' recipes have
PHOTO: dict[str, Any] = {
    "layers": [
        {"type": "Whitening", "filters": 8, "kernel_size": 2, "activation": "relu"},
        {"type": "Conv2D", "filters": 8, "kernel_size": 3, "padding": "same", "use_bias": False},
        {"type": "MaxPooling2D"},
        {"type": "BatchNormalization", "momentum": 0.6},
        {"type": "Activation", "activation": "gelu"},
        {
            "type": "Residual",
            "layers": [
                {"type": "Conv2D", "filters": 8, "kernel_size": 2, "padding": "same"},
                {"type": "BatchNormalization"},
            ],
        },
        {"type": "GlobalMaxPooling2D"},
        {"type": "Dense", "units": "classes"},
    ],
    "epochs": 2,
    "batch_size": 32,
    "precision": "mixed",
    "image_scales": (0.5, 1.0),
    "loss": {"label_smoothing": 0.1},
    "optimizer": {"name": "muon"},
    "schedule": {"name": "one-cycle"},
    "validation": {"fraction": 0.1},
    "augmentation": {"shift": 0.1, "flip": True},
    "test_time_augmentation": {"shift": 1, "flip": True},
}
WARPED: dict[str, Any] = {
    "layers": [
        {"type": "Conv2D", "filters": 4, "kernel_size": 2, "padding": "same", "strides": 2, "activation": "tanh"},
        {"type": "AveragePooling2D", "pool_size": 3, "padding": "same"},
        {"type": "Flatten"},
        {"type": "Dropout", "rate": 0.2},
        {"type": "Dense", "units": 12, "activation": "leaky_relu"},
        {"type": "Dense", "units": "classes", "activation": "softmax"},
    ],
    "epochs": 2,
    "batch_size": 32,
    "class_balance": 0.5,
    "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "schedule": {"name": "cosine", "warmup": 0.1},
    "augmentation": {"rotation": 10.0, "elastic": 0.05, "erasing": 0.3},
    "weight_averaging": {"last": 0.5},
    "members": 2,
}
STOPPING: dict[str, Any] = {
    "layers": [{"type": "Flatten"}, {"type": "Dense", "units": 12}, {"type": "Dense", "units": "classes"}],
    "epochs": 9,
    "batch_size": 16,
    "optimizer": {"name": "rmsprop", "learning_rate": 0.05, "momentum": 0.5, "centered": True},
    "validation": {"fraction": 0.2},
    "early_stopping": {"monitor": "val_accuracy", "patience": 1},
}
# runs the script with warnings as errors and without misread, and saves what it trained
SAVE = """
import runpy, sys, torch
sys.modules["misread"] = None
sys.argv = sys.argv[1:]
networks, images, labels, probs = runpy.run_path(sys.argv[0])["run"]()
weights = {f"{k}.{i}": t for k, n in enumerate(networks) for i, t in enumerate(n.state_dict().values())}
torch.save({"weights": weights, "labels": labels, "probs": probs}, "out.pt")
"""


def run_script(script: Path, folder: Path, *arguments: Path) -> dict[str, Any]:
    command = [sys.executable, "-I", "-W", "error", "-c", SAVE, script, *arguments]
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "out.pt")


def weights_of(run: misread.Run) -> list[torch.Tensor]:
    network = run.network.network if run.recipe.test_time_augmentation else run.network
    return [t for member in getattr(network, "members", [network]) for t in member.state_dict().values()]


def train(data: Any, settings: dict[str, Any], out: Path, **more: Any) -> misread.Run:
    return misread.train(data, "tutorial-mlp", settings=settings, out=out, threads=1, progress=False, **more)


def arrays(folder: Path, side: int = 12, channels: int = 3) -> Path:
    (x_train, y_train), (x_test, y_test) = (
        blocks(200, side=side, channels=channels),
        blocks(60, side=side, channels=channels, seed=1),
    )
    np.savez(folder / "blocks.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return folder / "blocks.npz"


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(PHOTO, id="photo", marks=pytest.mark.slow),
        pytest.param(WARPED, id="warped", marks=pytest.mark.slow),
        pytest.param(STOPPING, id="stopping"),
    ],
)
def test_the_script_trains_the_same_weights_where_torch_alone_trained_the_run(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_layers, "FASTER", ())
    run = train(arrays(tmp_path), settings, tmp_path)
    assert run.record.engine.name == "torch"
    script = eject(run)
    assert "same weights, bit for bit" in " ".join(script.read_text().split())
    found = run_script(script, tmp_path)
    for own, theirs in zip(found["weights"].values(), weights_of(run), strict=True):
        torch.testing.assert_close(own, theirs, rtol=0, atol=0)
    np.testing.assert_allclose(found["probs"], run.predictions().probs, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not kernel_layers.layers_build(), reason="PyTorch computes all layers on this machine")
def test_the_script_comes_as_close_as_rounding_where_the_kernels_computed_layers(tmp_path: Path) -> None:
    run = train(arrays(tmp_path), PHOTO, tmp_path)
    assert run.record.engine.name == "torch"
    script = eject(run)
    text = " ".join(script.read_text().split())
    assert "not bit for bit: misread's compiled kernels computed some layers" in text
    np.testing.assert_allclose(run_script(script, tmp_path)["probs"], run.predictions().probs, atol=1e-2)


@pytest.mark.parametrize("recipe", ["tutorial-mlp", pytest.param("tutorial-cnn", marks=pytest.mark.slow), "fast"])
def test_the_script_comes_as_close_as_rounding_where_the_kernels_trained_the_run(recipe: str, tmp_path: Path) -> None:
    run = misread.train(
        "digits",
        recipe,
        epochs=4 if recipe == "fast" else 1,
        settings=["min_steps=0", "precision=float32"],
        out=tmp_path,
        threads=1,
        progress=False,
    )
    script = eject(run)
    text = " ".join(script.read_text().split())
    assert ("not bit for bit: misread's compiled kernels" in text) == (run.record.engine.name == "kernels")
    found = run_script(script, tmp_path)
    np.testing.assert_array_equal(found["labels"], run.predictions().labels)
    accuracy = float((found["probs"].argmax(dim=1) == found["labels"]).float().mean())
    assert abs(accuracy - run.metrics["test"]["accuracy"]) < 0.03
    assert accuracy > 0.5


def test_the_script_lists_what_it_misreads(tmp_path: Path, cli: Callable[..., Result]) -> None:
    run = train("digits", DENSE, tmp_path)
    result = cli("eject", run.folder, "--out", tmp_path / "my script.py", "--json")
    assert json.loads(result.out)["path"] == str(tmp_path / "my script.py")
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "my script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = (tmp_path / "misread.csv").read_text().splitlines()
    assert lines[0] == "image,label,prediction,confidence"
    assert f"{len(lines) - 1} of 359 images misread" in done.stdout
    confidences = [float(line.split(",")[3]) for line in lines[1:]]
    assert confidences == sorted(confidences, reverse=True)
    assert all(line.split(",")[1] != line.split(",")[2] for line in lines[1:])


def draw(folder: Path, splits: tuple[str, ...]) -> Path:
    for number, split in enumerate(splits):
        for k, (image, label) in enumerate(zip(*blocks(80, side=10, channels=3, seed=number), strict=True)):
            file = folder / split / ("ab", "c d", "é", "z")[label] / f"{k}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    return folder


def sources(kind: str, folder: Path) -> Any:
    match kind:
        case "idx":
            return write_idx_folder(folder / "idx", blocks(90), blocks(40, seed=1))
        case "class folders":
            return draw(folder / "pictures", ("",))
        case "split folders":
            return draw(folder / "pictures", ("training", "val", "test"))
        case "one npz":
            images, labels = blocks(90)
            np.savez(folder / "one.npz", x_train=images, y_train=labels)
            return folder / "one.npz"
        case "floats":
            images, labels = blocks(90)
            np.savez(folder / "floats.npz", x_train=images / 255, y_train=labels)
            return folder / "floats.npz"
        case "memory":
            return blocks(90)


@pytest.mark.parametrize("kind", ["idx", "class folders", "split folders", "one npz", "floats", "memory"])
def test_the_script_loads_the_runs_images(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(sources(kind, tmp_path), {**DENSE, "validation": {"name": "carve"}}, tmp_path)
    script = eject(run)
    assert script.with_name("data.npz").exists() == (kind in ("floats", "memory"))
    monkeypatch.setattr(sys, "argv", [str(script)])
    loaded = runpy.run_path(str(script))["load_data"]()
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(loaded[split][0], run.split(split).images)
        np.testing.assert_array_equal(loaded[split][1], run.split(split).labels)


def test_fixed_labels_are_written_beside_the_script(tmp_path: Path) -> None:
    first = train(arrays(tmp_path), DENSE, tmp_path)
    from misread.data.image_hash import image_hashes

    (wrong,) = image_hashes(first.data.train.images[:1])
    write_patch(tmp_path / "fix.jsonl", [Fix(wrong, "0", "3", by="test")])
    run = train(arrays(tmp_path), DENSE, tmp_path, label_patch=tmp_path / "fix.jsonl")
    eject(run)
    written = np.load(run.folder / "eject" / "data.npz")
    assert (first.data.train.labels[0], written["y_train"][0]) == (0, 3)
    np.testing.assert_array_equal(written["y_test"], first.data.test.labels)


def test_the_scripts_are_formatted_and_have_no_unused_code(tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    data = arrays(tmp_path)
    for number, settings in enumerate((PHOTO, WARPED, STOPPING, DENSE)):
        script = eject(train(data, {**settings, "epochs": 1}, tmp_path), tmp_path / f"{number}.py")
        imports = {
            a.name for n in ast.walk(ast.parse(script.read_text())) if isinstance(n, ast.Import) for a in n.names
        }
        assert imports <= {"csv", "gzip", "math", "sys", "numpy", "torch", "torch.nn.functional"}
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length", "120"]
    found = [
        subprocess.run([*ruff, *command, *options, "."], cwd=tmp_path, capture_output=True, text=True)
        for command in (["format", "--diff"], ["check", "--select", "E,F,W,I,B,UP"])
    ]
    assert [(f.returncode, f.stdout) for f in found] == [(0, ""), (0, "All checks passed!\n")]


def test_class_names_cannot_leave_their_strings(tmp_path: Path) -> None:
    names = ['"""', "\\", "'\"", "\n{{ 7 }}"]
    data = misread.ImageSet.from_arrays(*blocks(90), class_names=names, name='"""\nimport os\n"""')
    script = eject(train(data, DENSE, tmp_path))
    tree = ast.parse(script.read_text())
    (classes,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "CLASSES"]  # type: ignore[attr-defined]
    assert ast.literal_eval(classes) == names
    assert not any(a.name == "os" for n in tree.body if isinstance(n, ast.Import) for a in n.names)


def test_what_cannot_be_ejected_is_refused(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    own = misread.train(blocks(90), "fast", network=module, epochs=1, out=tmp_path, progress=False)
    with pytest.raises(RunError, match="trained a module from Python, Sequential"):
        eject(own)
    run = train(blocks(90), DENSE, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file/train.py cannot be written: "):
        eject(run, tmp_path / "file" / "train.py")
