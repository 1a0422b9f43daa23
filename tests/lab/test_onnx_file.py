"""ONNX files opened again: those by misread, and files that are not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx
from onnx import TensorProto, helper

import misread
from misread.errors import RunError
from misread.lab.onnx_file import open_onnx


@pytest.fixture
def model(run: misread.Run) -> Path:
    return misread.export(run)[0].path


def test_a_file_says_what_it_is_and_predicts(run: misread.Run, model: Path) -> None:
    opened = open_onnx(model, threads=1)
    assert opened.class_names == run.record.data.class_names
    assert opened.image_shape == (8, 8, 1)
    assert opened.facts["fingerprint"] == run.record.data.fingerprint
    np.testing.assert_allclose(opened.probs(run.data.test.images), run.predictions().probs, atol=1e-5)


def without_class_names(facts: dict[str, str]) -> None:
    del facts["class_names"]


def another_class(facts: dict[str, str]) -> None:
    facts["class_names"] = '["a", "b", "c", "d", "e"]'


def another_shape(facts: dict[str, str]) -> None:
    facts["image_shape"] = "[8, 9, 1]"


def no_json(facts: dict[str, str]) -> None:
    facts["geometry"] = "28 x 28"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_class_names, "was not written by misread: in its metadata 'class_names' is missing or wrong"),
        (no_json, "was not written by misread"),
        (another_class, r"contradicts itself: it gives .*, but its metadata name 5 classes"),
        (another_shape, r"it takes .*, but its metadata say uint8 images of \(8, 9, 1\).*; its geometry is for"),
    ],
)
def test_wrong_metadata_is_named(model: Path, change: Callable[[dict[str, str]], None], message: str) -> None:
    proto = onnx.load(model)
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    change(facts)
    del proto.metadata_props[:]
    helper.set_model_props(proto, facts)
    onnx.save(proto, model)
    with pytest.raises(RunError, match=message):
        open_onnx(model)


def test_other_files_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(RunError, match=r"There is no file .*gone.onnx. To write one: misread export RUN"):
        open_onnx(tmp_path / "gone.onnx")
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(RunError, match="is damaged or no ONNX file"):
        open_onnx(model)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), model)
    with pytest.raises(RunError, match="was not written by misread"):
        open_onnx(model)
