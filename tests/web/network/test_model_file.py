"""The file of a network: what is in it, rounding, and what the page says about a file that is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from network_pages import ON_IMAGES, NetworkPage
from networks import every_layer, settled
from torch import nn

from misread.errors import RunError
from misread.models.network import network_logits
from misread.training.recipe import load_recipe
from misread.web.model_file import ALIGNMENT, MAGIC, model_bytes, read_header

IMAGES = np.random.default_rng(3).integers(0, 256, (40, 13, 11, 3), dtype=np.uint8)
READ = """const { readModel } = await load("network/model.js");
try { readModel(await file("model")); return "read"; } catch (error) { return error.message; }"""


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.5), ("int8", 0.25)])
def test_the_stated_error_of_rounded_weights_is_what_the_page_measures(
    precision: str, share: float, page: NetworkPage
) -> None:
    recipe = load_recipe("tutorial-mlp")
    network = settled(recipe, IMAGES, 10)
    whole = model_bytes(network, recipe.layers, list("0123456789"), (13, 11, 3))
    page.give(recipe, network, IMAGES, precision=precision, images=IMAGES)
    probs = np.array(
        page.run(ON_IMAGES + "return Array.from({ length: count }, (_, i) => [...model.predict(image(i))]);")
    )
    with torch.no_grad():
        own = network_logits(network, torch.from_numpy(IMAGES)).softmax(1).numpy()
    error = read_header(page.given["model"])["error"]
    assert error["images"] == 40
    assert error["largest"] == pytest.approx(np.abs(probs - own).max(), abs=1e-6)
    assert error["changed"] == (probs.argmax(1) != own.argmax(1)).sum()
    assert error["largest"] > 0
    assert len(page.given["model"]) == pytest.approx(share * len(whole), rel=0.02)


def test_the_halves_are_read_as_numpy_reads_them(page: NetworkPage) -> None:
    bits = np.arange(0, 2**16, 7, dtype=np.uint16)
    found = page.run(
        'const { fromHalf } = await load("network/file.js"); return argument.map((b) => String(fromHalf(b)));',
        bits.tolist(),
    )
    for text, half in zip(found, bits.view(np.float16).tolist(), strict=True):
        assert float(text.replace("Infinity", "inf")) == half or np.isnan(half)


def test_tensors_lie_in_the_file_as_the_header_says() -> None:
    recipe = every_layer("relu")
    network = settled(recipe, IMAGES, 4)
    file = model_bytes(network, recipe.layers, list("abcd"), (13, 11, 3), geometry={"ground": None})
    header = read_header(file)
    start = len(file) - header["bytes"]
    assert file.startswith(MAGIC)
    assert start % ALIGNMENT == 0
    entry = header["members"][0]["residual/conv2d/kernel"]
    assert entry["shape"] == [3, 3, 6, 6]
    stored = np.frombuffer(file, "<f4", 324, start + entry["offset"]).reshape(3, 3, 6, 6)
    np.testing.assert_array_equal(stored, network.residual.conv2d.weight.detach().permute(2, 3, 1, 0).numpy())
    assert all(tensor["offset"] % ALIGNMENT == 0 for tensor in header["members"][0].values())


def test_damaged_and_foreign_files_are_refused_with_a_reason(page: NetworkPage) -> None:
    recipe = every_layer("relu")
    page.give(recipe, settled(recipe, IMAGES, 4), IMAGES, 4)
    file = page.given["model"]
    assert page.run(READ) == "read"
    start = len(file) - read_header(file)["bytes"]
    wrong = {
        b"": "not a network of misread",
        b"\x89PNG" + file[4:]: "not a network of misread",
        file[:8] + b"\x09\0\0\0" + file[12:]: "version 9; this page reads version 1",
        file[:14] + b"\xff" + file[15:]: "header is cut off",
        file[:100]: "header is cut off",
        file[:-5]: f"it has {len(file) - start - 5} bytes of weights instead of {len(file) - start}",
        file + b"\0": f"it has {len(file) - start + 1} bytes of weights instead of {len(file) - start}",
        file[:16] + b"?" + file[17:]: "header cannot be read",
        file.replace(b'"Flatten"', b'"Flattn!"', 1): "no layer of the type Flattn!",
        file.replace(b'"activation":"relu"', b'"activation":"rolu"', 1): "no activation rolu",
        file.replace(b'"residual/conv2d/kernel"', b'"residual/conv2d/kernal"', 1): "conv2d has no kernel",
        file.replace(b'"shape":[9,4]', b'"shape":[9,3]', 1): "kernel of the layer dense_1 has another shape",
        file.replace(b'"shape":[9,4]', b'"shape":[9,9]', 1): "the tensor dense_1/kernel is not in it",
    }
    for page.given["model"], reason in wrong.items():
        assert reason in page.run(READ), reason


def test_networks_that_are_not_made_of_a_recipes_layers_alone_are_refused() -> None:
    foreign = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(RunError, match="cannot run in the page: it is not made of a recipe's layers alone"):
        model_bytes(foreign, load_recipe("tutorial-mlp").layers, ["a", "b"], (2, 2, 1))


def test_the_file_of_a_run_has_its_classes_and_geometry(tmp_path: Path) -> None:
    import misread

    run = misread.train("digits", "fast-mlp", epochs=1, out=tmp_path, progress=False)
    header = read_header(run.model_file())
    assert header["class_names"] == [str(k) for k in range(10)]
    assert header["geometry"]["box"] == 20
    assert header["precision"] == "float32"
