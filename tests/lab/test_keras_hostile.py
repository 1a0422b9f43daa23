"""Files that are no saved models: each is refused with a message that names what was found, and nothing is run."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import misread
from keras_files import MEMBERS, Change, change_h5, change_keras, layers, unpack
from misread.errors import RunError


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("keras"))


def refused(path: Path, message: str) -> None:
    with pytest.raises(RunError) as caught:
        misread.open_keras(path)
    assert message in str(caught.value), caught.value
    assert str(caught.value).startswith(str(path))


def insert(kind: str, module: str | None = "keras.layers", registered: str | None = None, **config: Any) -> Change:
    layer = {"class_name": kind, "config": {"name": "planted", **config}, "registered_name": registered}
    return lambda model: layers(model).insert(1, layer | ({"module": module} if module else {}))


def in_last(**config: Any) -> Change:
    return lambda model: layers(model)[-1]["config"].update(config)


LAMBDA = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
FUNCTION = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # CVE-2024-3660, CVE-2025-9905: code in a Lambda layer
        pytest.param(insert("Lambda", function=LAMBDA), "'planted' is a 'Lambda'. The layers that can", id="lambda"),
        # CVE-2025-1550: any module and function
        pytest.param(insert("Dense", module="os", units=3), "class 'Dense' of the module 'os'", id="module"),
        pytest.param(insert("system", module="os", command="id"), "of the module 'os', which is not Keras's", id="os"),
        pytest.param(insert("Dense", module="keras_evil.layers", units=3), "'keras_evil.layers'", id="like keras"),
        # CVE-2025-8747: Keras's own functions, like get_file
        pytest.param(insert("get_file", module="keras.utils", origin="http://x/y"), "is a 'get_file'", id="get_file"),
        # CVE-2025-9906: switching the safe mode off
        pytest.param(
            insert("enable_unsafe_deserialization", module="keras.config"), "is a 'enable_unsafe", id="unsafe"
        ),
        # CVE-2025-12058, CVE-2025-12060: layers that read files
        pytest.param(insert("StringLookup", vocabulary="/etc/passwd"), "is a 'StringLookup'", id="vocabulary"),
        pytest.param(insert("TorchModuleWrapper", value="x"), "is a 'TorchModuleWrapper'", id="torch module"),
        pytest.param(insert("TFSMLayer", filepath="/tmp/x"), "is a 'TFSMLayer'", id="saved model"),
        pytest.param(insert("Dense", registered="Mine>Dense", units=3), "custom object 'Mine>Dense'", id="registered"),
        pytest.param(in_last(activation=FUNCTION), "it names 'system' 'system', which is not Keras's", id="function"),
        pytest.param(in_last(activation=LAMBDA), "it names '__lambda__'", id="lambda activation"),
        pytest.param(
            in_last(kernel_initializer={"module": "os", "class_name": "Popen", "config": {"a": 1}}),
            "class 'Popen' of the module 'os'",
            id="initializer",
        ),
        pytest.param(in_last(activation="swish"), "the activation 'swish' cannot be opened", id="activation"),
        pytest.param(in_last(units=2**40), "units is 1099511627776", id="huge number"),
        pytest.param(in_last(units=2**20), "has the shape (16, 10), but needs (16, 1048576)", id="more units"),
        pytest.param(in_last(units="3"), "units is 3, but must be a whole number", id="text"),
        pytest.param(in_last(units=True), "units is True, but must be a whole number", id="true"),
        pytest.param(in_last(dtype="string"), "its dtype is 'string'", id="dtype"),
        pytest.param(
            in_last(dtype={"module": "keras", "class_name": "DTypePolicy", "config": {"name": "int8_from_float32"}}),
            "its dtype is 'int8_from_float32'",
            id="quantized",
        ),
        pytest.param(in_last(activation="relu"), "its output is 10 numbers after relu", id="no probabilities"),
        pytest.param(insert("Reshape", target_shape=[10**9, 10**9]), "it cannot make [1000000000", id="reshape"),
        pytest.param(
            insert("AveragePooling2D", pool_size=10**9, padding="same"), "larger than its input", id="huge window"
        ),
        pytest.param(
            insert("Conv2D", filters=2**30, kernel_size=1), "the layer 'planted' (Conv2D): its output of", id="filters"
        ),
        pytest.param(lambda model: model.update(class_name="Evil"), "it is a 'Evil'", id="model"),
        pytest.param(lambda model: model.update(module="posixpath"), "the module 'posixpath'", id="its module"),
        pytest.param(lambda model: model["config"].update(layers=3), "list of layers is missing", id="no layers"),
        pytest.param(lambda model: layers(model).extend([layers(model)[1]] * 1000), "1,004 layers; 1,000", id="layers"),
        pytest.param(lambda model: layers(model).append(layers(model)[1]), "have the same name", id="same name"),
        pytest.param(
            lambda model: layers(model)[0]["config"].update(batch_shape=[None, None, 8, 1]), "no known size", id="shape"
        ),
        pytest.param(
            lambda model: layers(model)[0]["config"].update(batch_shape=[None, 10**9, 9, 1]), "is no image", id="input"
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_planted_configuration_is_refused(
    saved: Path, tmp_path: Path, change: Change, message: str, suffix: str
) -> None:
    make: Callable[..., Path] = change_keras if suffix == ".keras" else change_h5
    refused(make(saved / f"jax-mlp{suffix}", tmp_path / f"m{suffix}", change), message)


def nested(depth: int) -> Change:
    def change(model: dict[str, Any]) -> dict[str, Any]:
        for i in range(depth):
            model = {"class_name": "Sequential", "config": {"name": f"m{i}", "layers": [model]}}
        return model

    return change


@pytest.mark.parametrize(("depth", "message"), [(6, "more than 4 models are nested"), (80, "nested too deep")])
def test_models_nested_too_deep_are_refused(saved: Path, tmp_path: Path, depth: int, message: str) -> None:
    refused(change_keras(saved / "jax-mlp.keras", tmp_path / "m.keras", nested(depth)), message)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([["re_lu", 0, 0]], "is missing, or its calls form a circle"),
        ([["nowhere", 0, 0]], "the input of the layer 're_lu' is missing"),
        ([["batch_normalization", 0, 1]], "names no tensor"),
        ([["batch_normalization", 0, 0, {"mask": "x"}]], "arguments other than its input"),
    ],
)
def test_calls_that_cannot_be_made_are_refused(saved: Path, tmp_path: Path, keys: Any, message: str) -> None:
    def change(model: dict[str, Any]) -> None:
        next(each for each in layers(model) if each["name"] == "re_lu")["inbound_nodes"] = [keys]

    refused(change_h5(saved / "jax-layers.h5", tmp_path / "m.h5", change), message)


def replaced(make: Callable[[Any], object]) -> Change:
    """The kernel of the last layer replaced by what `make` puts there."""

    def change(file: Any) -> None:
        group = file["layers/dense_1/vars"] if "layers" in file else file["model_weights/dense_1/sequential/dense_1"]
        name = "0" if "0" in group else "kernel"
        del group[name]
        make((group, name))

    return change


def virtual(place: Any) -> None:
    layout = h5py.VirtualLayout((16, 10), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (16, 10))
    place[0].create_virtual_dataset(place[1], layout)


def hard_link(place: Any) -> None:
    place[0][place[1]] = place[0]["1" if place[1] == "0" else "bias"]


def dataset(**arguments: Any) -> Callable[[Any], None]:
    return lambda place: place[0].create_dataset(place[1], **arguments)


KERNEL = np.zeros((16, 10), np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        # CVE-2026-1669: values from other files
        pytest.param(lambda p: p[0].__setitem__(p[1], h5py.ExternalLink("/etc/x.h5", "/y")), "/etc/x.h5:/y", id="link"),
        pytest.param(lambda p: p[0].__setitem__(p[1], h5py.SoftLink("/layers")), "a link to another place", id="soft"),
        pytest.param(virtual, "a virtual dataset, whose values are in other files", id="virtual"),
        pytest.param(
            dataset(shape=(16, 10), dtype="f4", external=[("/etc/passwd", 0, 640)]),
            "its values in another file, /etc/passwd",
            id="external",
        ),
        pytest.param(hard_link, "the same object at two places", id="hard link"),
        # GHSA-xfhx-r7ww-5995: more than is stored
        pytest.param(dataset(shape=(16, 10), dtype="f4"), "claims 640 bytes of the shape (16, 10), but 0", id="empty"),
        pytest.param(dataset(shape=(2**40, 2**20), dtype="f4", chunks=(64, 64)), "but 0 are stored", id="shape bomb"),
        pytest.param(dataset(data=KERNEL, compression="gzip"), "compressed values", id="compressed"),
        pytest.param(dataset(data=KERNEL[:, :9]), "has the shape (16, 9), but needs (16, 10)", id="shape"),
        pytest.param(dataset(data=KERNEL.astype(np.int32)), "has the type int32", id="integers"),
        pytest.param(dataset(data=np.full((16, 10), "x", object), dtype=h5py.string_dtype()), "type object", id="text"),
        pytest.param(dataset(data=np.zeros((16, 10), [("a", "f4")])), "not numbers", id="compound"),
        pytest.param(dataset(data=np.full((16, 10), np.nan, np.float32)), "not finite", id="nan"),
        pytest.param(lambda p: None, "missing", id="missing"),
        pytest.param(lambda p: p[0].create_group(p[1]), "missing", id="group"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_planted_weights_are_refused(saved: Path, tmp_path: Path, make: Any, message: str, suffix: str) -> None:
    change = change_keras if suffix == ".keras" else change_h5
    refused(change(saved / f"jax-mlp{suffix}", tmp_path / f"m{suffix}", weights=replaced(make)), message)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((*MEMBERS, "../../evil.py"), "it holds '../../evil.py'"),
        ((*MEMBERS, "/etc/evil"), "it holds '/etc/evil'"),
        ((*MEMBERS, "assets/vocabulary.txt"), "it holds 'assets/vocabulary.txt'"),
        (MEMBERS[:2], "it has no model.weights.h5"),
    ],
)
def test_other_members_are_refused(saved: Path, tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    refused(change_keras(saved / "jax-mlp.keras", tmp_path / "m.keras", names=names), message)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(saved: Path, tmp_path: Path) -> None:
    path = change_keras(saved / "jax-mlp.keras", tmp_path / "m.keras", names=(*MEMBERS, "config.json"))
    refused(path, "it holds 'config.json' twice")


def zipped(to: Path, config: bytes, weights: bytes = b"") -> Path:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in zip(MEMBERS, (b"{}", config, weights), strict=True):
            archive.writestr(name, contents)
    return to


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        (b"{}" + b" " * 2**24, b"", "config.json claims 16,777,218 bytes; 8,388,608 are allowed"),
        (b"{}", bytes(2**24), "model.weights.h5 claims 16,777,216 bytes"),
        (b"[" * 200_000, b"", "nested too deep"),
        (b'{"a": 1, "a": 2}', b"", "the key 'a' is there twice"),
        (b"\xff\xfe", b"", "config.json is no JSON"),
        (b"[]", b"", "no JSON object"),
        (b"{}", b"no HDF5", "model.weights.h5 is damaged"),
    ],
)
def test_bombs_and_broken_members_are_refused(tmp_path: Path, config: bytes, weights: bytes, message: str) -> None:
    refused(zipped(tmp_path / "m.keras", config, weights), message)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "neither a .keras nor an .h5 file"),
        (b"\x80\x04\x95pickle", "neither a .keras nor an .h5 file"),
        (b"PK\x03\x04broken", "it is damaged"),
        (b"\x89HDF\r\n\x1a\nbroken", "is damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, contents: bytes, message: str) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(contents)
    refused(path, message)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "it is a folder. Save the model as one file")


def test_every_truncation_is_refused(saved: Path, tmp_path: Path) -> None:
    for suffix in (".keras", ".h5"):
        whole = (saved / f"jax-mlp{suffix}").read_bytes()
        for size in range(0, len(whole) - 1, len(whole) // 23):
            path = tmp_path / f"m{suffix}"
            path.write_bytes(whole[:size])
            refused(path, "cannot be opened")


def test_weights_alone_say_how_to_save_the_model(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = KERNEL
    refused(tmp_path / "m.weights.h5", "it has weights but no model_config. Save the whole model")


def test_nothing_is_imported_or_written(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that names modules leaves no trace, also where it is ignored."""
    import sys

    def change(model: dict[str, Any]) -> None:
        model["compile_config"] = {"loss": {"module": "antigravity", "class_name": "x", "config": {}}}
        model["build_config"] = {"module": "antigravity"}

    path = change_keras(saved / "jax-mlp.keras", tmp_path / "m.keras", change)
    before = sorted(tmp_path.iterdir())
    misread.open_keras(path)
    assert "antigravity" not in sys.modules
    assert not {"keras", "tensorflow"} & set(sys.modules)
    assert sorted(tmp_path.iterdir()) == before


def test_a_missing_package_says_how_to_install_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RunError, match=r"^A Keras file needs h5py. Install it: pip install 'misread\[keras\]'$"):
        misread.open_keras(saved / "jax-mlp.keras")


def test_the_planted_files_are_otherwise_good(saved: Path, tmp_path: Path) -> None:
    """The changes alone are refused, not the way in which these tests write files."""
    misread.open_keras(change_keras(saved / "jax-mlp.keras", tmp_path / "m.keras", lambda m: None, lambda f: None))
    misread.open_keras(change_h5(saved / "jax-mlp.h5", tmp_path / "m.h5", lambda m: None, lambda f: None))
    with (
        zipfile.ZipFile(saved / "jax-mlp.keras") as archive,
        h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file,
    ):
        assert file["layers/dense_1/vars/0"].shape == KERNEL.shape
        assert json.loads(archive.read("config.json"))["class_name"] == "Sequential"
