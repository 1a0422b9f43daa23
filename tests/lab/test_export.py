"""Exported files: complete, checked against the run, and not written if they differ from it."""

import errno
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn

pytest.importorskip("onnxruntime")

import onnxruntime

import misread
from exported import export as export_program
from exported import small_network
from misread.data.image_set import ImageSet
from misread.errors import ExportError, RunError
from misread.lab import onnx_int8
from misread.lab.formats import EXACT, ROUNDED
from misread.lab.replay import replay
from samples import Result

FILES = {"onnx": "model.onnx", "torch": "model.pt2", "safetensors": "model.safetensors"}


def test_the_onnx_file_gives_the_runs_probabilities_and_tells_about_it(run: misread.Run) -> None:
    (written,) = misread.export(run)
    assert written.path == run.folder / "export" / "model.onnx"
    assert written.size_bytes == written.path.stat().st_size
    assert written.replay.images == 80
    assert written.replay.changed == 0
    assert written.replay.difference < 1e-5
    assert written.stored
    session = onnxruntime.InferenceSession(written.path)
    probs = session.run(None, {"images": run.data.test.images})[0]
    np.testing.assert_allclose(probs, run.predictions().probs, atol=1e-5)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["class_names"]) == ["one", "two", "drei", "vier, ü"]
    assert json.loads(facts["image_shape"]) == [8, 8, 1]
    assert json.loads(facts["geometry"]) == run.record.data.geometry
    assert facts["fingerprint"] == run.data.fingerprint
    assert json.loads(facts["accuracy"])["accuracy"] == run.metrics["test"]["accuracy"]
    assert facts["recipe"] == (run.folder / "recipe.toml").read_text()
    assert facts["misread"] == misread.__version__


def test_parity_has_test_images_with_the_runs_probabilities(run: misread.Run) -> None:
    misread.export(run)
    parity = np.load(run.folder / "export" / "parity.npz")
    rows = parity["index"]
    np.testing.assert_array_equal(parity["images"], run.data.test.images[rows])
    np.testing.assert_array_equal(parity["probs"], run.predictions().probs[rows])
    np.testing.assert_array_equal(parity["labels"], run.data.test.labels[rows])


def test_the_torch_file_gives_the_runs_probabilities_without_misread(run: misread.Run, tmp_path: Path) -> None:
    run.data.test.images.setflags(write=False)  # as those of a named data set are
    (written,) = misread.export(run, "torch", tmp_path / "out")
    about = {"class_names": "", "recipe": ""}
    program = torch.export.load(written.path, extra_files=about).module()
    for n in (1, 5, 80):
        probs = program(torch.from_numpy(run.data.test.images[:n].copy())).numpy()
        np.testing.assert_allclose(probs, run.predictions().probs[:n], atol=1e-5)
    assert json.loads(about["class_names"])[0] == "one"


def test_the_safetensors_file_has_the_weights_the_layers_and_the_class_names(run: misread.Run) -> None:
    (written,) = misread.export(run, "safetensors")
    own = load_file(run.folder / "model.safetensors")
    with safe_open(written.path, "numpy") as file:
        assert sorted(file.keys()) == sorted(own)
        for name, values in own.items():
            np.testing.assert_array_equal(file.get_tensor(name), values)
        about = file.metadata()
    assert [layer["type"] for layer in json.loads(about["layers"])][:2] == ["Conv2D", "MaxPooling2D"]
    assert json.loads(about["class_names"])[0] == "one"


def test_damage_to_an_exported_file_is_noticed(run: misread.Run, cli: Callable[..., Result]) -> None:
    misread.export(run, "onnx", int8=True)
    misread.export(run, "safetensors")
    folder = run.folder / "export"
    names = {"model.onnx", "model-int8.onnx", "model.safetensors", "parity.npz", "predict.py"}
    assert {path.name for path in folder.iterdir()} == {*names, "checksums.json"}
    assert cli("verify", folder).out == f"{folder}: 5 files compared, 0 damaged or missing.\n"
    for name in names:
        contents = bytearray((folder / name).read_bytes())
        contents[len(contents) // 2] ^= 1
        (folder / name).write_bytes(contents)
        found = cli("verify", folder)
        assert (found.code, found.out.partition(" has ")[0]) == (1, f"Damaged: {name}")
        contents[len(contents) // 2] ^= 1
        (folder / name).write_bytes(contents)
    assert cli("verify", run.folder).code == 0


@pytest.mark.parametrize("to", FILES)
def test_a_changed_weight_makes_the_export_fail_and_leaves_no_file(
    run: misread.Run, to: str, cli: Callable[..., Result]
) -> None:
    weights = load_file(run.folder / "model.safetensors")
    weights["dense.weight"][0] += 1
    save_file(weights, run.folder / "model.safetensors")
    result = cli("export", run.folder, "--to", to)
    assert result.code == 1
    assert f"{FILES[to]} does not repeat the run: 80 test images: " in result.err
    assert "(no predicted class may change, and no probability by more than 0.0001)" in result.err
    assert result.out == ""
    assert list((run.folder / "export").iterdir()) == []


def test_a_failed_export_leaves_an_earlier_file_as_it_was(run: misread.Run) -> None:
    (first,) = misread.export(run)
    before = first.path.read_bytes()
    with pytest.raises(ExportError, match="no probability by more than 1e-12"):
        misread.export(run, tolerance=1e-12)
    assert first.path.read_bytes() == before


def test_the_command_prints_what_was_compared(run: misread.Run, cli: Callable[..., Result]) -> None:
    text = cli("export", run.folder, "--quiet")
    assert (text.code, text.err) == (0, "")
    assert "80 test images: 0 predicted classes changed, a probability by up to " in text.out
    assert "allowed: no predicted class may change, and no probability by more than 0.0001\n" in text.out
    found = cli("export", run.folder, "--to", "safetensors", "--json")
    (written,) = json.loads(found.out)
    assert written["path"].endswith("export/model.safetensors")
    assert written["replay"]["images"] == 80
    assert written["replay"]["accuracy"] == written["replay"]["accuracy_before"]
    assert "Predicting 80 test images" in found.err


def test_eight_bits_have_a_replay_of_their_own(run: misread.Run) -> None:
    plain, rounded = misread.export(run, int8=True, tolerance=1e-3)
    assert rounded.path.name == "model-int8.onnx"
    assert (plain.limits.difference, plain.limits.changed) == (1e-3, 0)
    assert rounded.limits == ROUNDED
    assert 1e-5 < rounded.replay.difference < 0.2
    session = onnxruntime.InferenceSession(rounded.path)
    assert "class_names" in session.get_modelmeta().custom_metadata_map


def test_eight_bits_that_are_too_few_leave_the_plain_file(run: misread.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = replace(onnx_int8.FORMAT, limits=replace(ROUNDED, difference=1e-9))
    monkeypatch.setattr(onnx_int8, "FORMAT", strict)
    with pytest.raises(ExportError, match=r"model-int8.onnx does not repeat .* \(the accuracy may be lower by 1%\)"):
        misread.export(run, int8=True)
    names = {path.name for path in (run.folder / "export").iterdir()}
    assert names == {"model.onnx", "parity.npz", "predict.py", "checksums.json"}


def test_a_nearly_full_folder_for_temporary_files_is_said_before_onnx_runtime_meets_it(
    run: misread.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(RunError, match=r"cannot be written: No space left on device\. .*TMPDIR"):
        misread.export(run, int8=True)


def test_without_stored_predictions_the_network_is_compared_with(run: misread.Run, cli: Callable[..., Result]) -> None:
    (run.folder / "predictions-test.npz").unlink()
    result = cli("export", run.folder, "--to", "safetensors")
    assert "(made again by the network: the run folder has no predictions)" in result.out
    assert result.code == 0


def test_a_replay_counts_what_changed() -> None:
    probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], np.float32)
    found = np.array([[0.8, 0.2], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]], np.float32)
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    result = replay(lambda block: found[block.ravel()], images, np.array([0, 0, 1, 0]), probs)
    assert (result.images, result.changed) == (4, 1)
    assert result.difference == pytest.approx(0.2)
    assert (result.accuracy, result.accuracy_before) == (0.5, 0.75)
    assert not result.within(EXACT)
    assert not result.within(ROUNDED)
    assert result.within(replace(ROUNDED, accuracy_loss=0.25))
    assert not result.within(replace(ROUNDED, accuracy_loss=0.25, changed=0.2))
    found[:] = np.nan
    broken = replay(lambda block: found[block.ravel()], images, np.array([0, 0, 1, 0]), probs)
    assert broken.difference == np.inf
    assert not broken.within(ROUNDED)
    with pytest.raises(ExportError, match=r"gives \(4, 3\) for 4 images, but must give \(4, 2\)"):
        replay(lambda block: np.zeros((4, 3), np.float32), images, np.zeros(4, np.int64), probs)


def test_a_target_that_cannot_be_written_is_named(run: misread.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.folder / "file").touch()
    with pytest.raises(RunError, match=r"file/out cannot be written: Not a directory. Choose another with --out"):
        misread.export(run, "safetensors", run.folder / "file" / "out")

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        misread.export(run, "safetensors")
    assert list((run.folder / "export").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "onyx"}, "cannot export to 'onyx'. Did you mean 'onnx'"),
        ({"to": "torch", "int8": True}, "--int8 is for --to onnx, not for --to torch"),
        ({"tolerance": 0.0}, "The tolerance is 0.0, but must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(run: misread.Run, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        misread.export(run, **settings)
    assert not (run.folder / "export").exists()


def test_a_missing_package_says_how_to_install_it(run: misread.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunError, match=r"ONNX needs onnxruntime. Install it: pip install 'misread\[onnx\]'"):
        misread.export(run)
    assert not (run.folder / "export").exists()


def test_data_that_is_gone_is_named_and_nothing_is_written(trained: misread.Run, tmp_path: Path) -> None:
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    record["data"]["source"] = str(tmp_path / "gone.npz")
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(misread.DataError, match=r"gone.npz"):
        misread.export(misread.open_run(folder))
    assert list((folder / "export").iterdir()) == []


@pytest.mark.parametrize("members", [1, 2])
def test_a_head_on_a_backbone_is_exported_with_the_backbone(block_set: ImageSet, tmp_path: Path, members: int) -> None:
    backbone = export_program(small_network(), tmp_path / "small.pt2")
    run = misread.train(
        block_set, backbone=str(backbone), settings=[f"members={members}"], epochs=2, out="runs", progress=False
    )
    backbone.unlink()
    (written,) = misread.export(run, "onnx")
    probs = onnxruntime.InferenceSession(written.path).run(None, {"images": block_set.test.images[:3]})[0]
    np.testing.assert_allclose(probs, run.predictions().probs[:3], atol=1e-4)
    (program,) = misread.export(run, "torch")
    assert program.replay.changed == 0
    (weights,) = misread.export(run, "safetensors")
    assert all("backbone" not in name for name in load_file(weights.path))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(1, 3, 3), nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.convolution(x).amax((2, 3)))


class Unwritable(Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + (1.0 if float(x.detach().mean()) > 2 else 0.0)


def test_a_module_from_python_is_exported_or_named(block_set: ImageSet) -> None:
    run = misread.train(block_set, network=Plain(), epochs=1, out="runs", progress=False)
    (written,) = misread.export(run)
    session = onnxruntime.InferenceSession(written.path)
    assert session.get_inputs()[0].shape[1:] == [8, 8, 1]
    run = misread.train(block_set, network=Unwritable(), epochs=1, out="runs", progress=False)
    with pytest.raises(RunError, match=r"torch cannot write this network as ONNX: .*\n.*--to safetensors"):
        misread.export(run)
    assert list((run.folder / "export").iterdir()) == []
