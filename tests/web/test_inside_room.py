"""The room Look inside in real Chromium: what it says of a network is what PyTorch computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from room_site import Site
from scipy.stats import spearmanr

import misread
from misread import Run

LAYERS = """layers=[
    {type="Conv2D", filters=6, kernel_size=5, padding="same", activation="relu"}, {type="MaxPooling2D"},
    {type="Conv2D", filters=8, kernel_size=3, strides=2, padding="same", use_bias=false}, {type="BatchNormalization"},
    {type="Activation", activation="relu"}, {type="Dropout", rate=0.25}, {type="Flatten"},
    {type="Dense", units=32, activation="relu"}, {type="Dense", units="classes", activation="softmax"}]"""
DEAD = 3  # a unit of the dense layer that is killed after the training
IMAGES = 60
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = misread.train(
        "digits", "tutorial-cnn", epochs=2, settings=[LAYERS], out=tmp_path_factory.mktemp("run"), progress=False
    )
    with torch.no_grad():
        run.predictor.network.dense.bias[DEAD] = -1e3
    return run


@pytest.fixture(scope="module")
def images(run: Run) -> np.ndarray:
    return np.asarray(run.split("test").images[:IMAGES])


@pytest.fixture(scope="module")
def outputs(run: Run, images: np.ndarray) -> dict[str, np.ndarray]:
    """What PyTorch's layers give for the images, by name, channels last; and the logits."""
    found: dict[str, np.ndarray] = {}
    network = run.predictor.network.eval()

    def keep(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
            found[name] = output.movedim(1, -1).numpy() if output.ndim == 4 else output.numpy()

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in network.named_children()]
    with torch.no_grad():
        found["logits"] = network(torch.from_numpy(images).movedim(-1, 1).float() / 255).numpy()
    for hook in hooks:
        hook.remove()
    return found


@pytest.fixture
def room(open_site: Open, run: Run, images: np.ndarray) -> Open:
    """Opens the room Look inside."""

    def open_room(address: str = "row=0", lang: str = "en", **more: Any) -> Any:
        site = Site(run, images, run.split("test").labels[:IMAGES], lang)
        page = open_site(site, f"room=inside&{address}", **more)
        page.wait_for_selector(".inside-top .best")
        return page

    return open_room


EXPLAIN = """async ([row, name, at]) => {
    const { stagesOf } = await import("/web/network/stages.js");
    const { explainValue } = await import("/web/network/explain.js");
    const size = model.imageShape.reduce((a, b) => a * b);
    const image = new Uint8Array(await (await fetch("/images.bin")).arrayBuffer()).slice(row * size, (row + 1) * size);
    const stages = stagesOf(model, image);
    const stage = stages.find((stage) => stage.name === name);
    return explainValue(stage, at) }"""


def flat(outputs: np.ndarray, row: int) -> np.ndarray:
    return outputs[row].ravel()


@pytest.mark.parametrize("name", ["conv2d", "conv2d_1"])
def test_the_products_of_a_window_add_up_to_what_torch_gives(room: Open, outputs: Any, name: str) -> None:
    page = room()
    values = flat(outputs[name], 4)
    for at in np.random.default_rng(0).integers(0, len(values), 12).tolist():
        told = page.evaluate(EXPLAIN, [4, name, at])
        total = sum(product for channel in told["channels"] for product in channel["products"]) + told["bias"]
        assert total == pytest.approx(told["sum"], abs=1e-4)
        assert (max(total, 0) if name == "conv2d" else total) == pytest.approx(values[at], abs=1e-4)


def test_the_parts_of_a_dense_unit_add_up_to_what_torch_gives(room: Open, outputs: Any) -> None:
    page = room()
    for at, value in enumerate(flat(outputs["dense"], 2).tolist()):
        told = page.evaluate(EXPLAIN, [2, "dense", at])
        total = sum(part["product"] for part in told["parts"]) + told["bias"]
        assert max(total, 0) == pytest.approx(value, abs=1e-4)


def test_the_position_that_pooling_chose_has_the_largest_value(room: Open, outputs: Any) -> None:
    page = room()
    before, after = outputs["conv2d"][1], outputs["max_pooling2d"][1]
    for row, column, channel in [(0, 0, 0), (7, 6, 2), (13, 13, 5)]:
        at = int(np.ravel_multi_index((row, column, channel), after.shape))
        told = page.evaluate(EXPLAIN, [1, "max_pooling2d", at])
        window = before[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel].ravel()
        np.testing.assert_allclose(told["inputs"], window, atol=1e-5)
        assert told["inputs"][told["chosen"]] == max(told["inputs"])
        assert told["output"] == pytest.approx(after[row, column, channel], abs=1e-5)


def test_batch_normalisation_in_numbers(room: Open, outputs: Any) -> None:
    page = room()
    values = flat(outputs["batch_normalization"], 3)
    for at in (0, 100, 391):
        told = page.evaluate(EXPLAIN, [3, "batch_normalization", at])
        scale = told["gamma"] / np.sqrt(told["variance"] + told["epsilon"])
        assert (told["input"] - told["mean"]) * scale + told["beta"] == pytest.approx(values[at], abs=1e-4)


def hover(page: Any, layer: str, channel: int, row: int, column: int) -> None:
    """Moves the mouse to a pixel of a 28x28 feature map, 2 page pixels a value, 2 between maps."""
    page.locator(f"[data-layer={layer}] canvas").hover(position={"x": 58 * channel + 2 * column + 1, "y": 2 * row + 1})


def test_a_hovered_pixel_is_explained_in_the_numbers_of_torch(room: Open, run: Run, images: np.ndarray) -> None:
    page = room("row=5")
    hover(page, "conv2d", 2, 12, 15)
    page.get_by_role("heading", name="conv2d: map 2, row 12, column 15").wait_for()
    kernel = run.predictor.network.conv2d.weight.detach().numpy()[2, 0]
    window = np.pad(images[5, :, :, 0] / 255, 2)[12:17, 15:20]
    for name, expected in [("Window of the input", window), ("Kernel", kernel), ("Products", window * kernel)]:
        cells = page.get_by_role("table", name=name, exact=True).locator("td").all_inner_texts()
        shown = np.array([float(text.replace("−", "-")) for text in cells]).reshape(5, 5)
        np.testing.assert_allclose(shown, expected, atol=6e-4)
    mark = page.locator("[data-layer=input] .window").bounding_box()
    picture = page.locator("[data-layer=input] canvas").bounding_box()
    assert (mark["x"] + 2 - picture["x"], mark["y"] + 2 - picture["y"]) == pytest.approx((13 * 8, 10 * 8), abs=3)


def test_only_the_keyboard(room: Open) -> None:
    page = room()
    page.locator("[data-layer=conv2d] canvas").focus()
    for key in ["ArrowRight", "ArrowRight", "ArrowDown", "PageDown"]:
        page.keyboard.press(key)
    page.get_by_role("heading", name="conv2d: map 1, row 1, column 2").wait_for()
    assert "row=0" in page.url, "arrow keys in a picture leave the image as it is"
    page.keyboard.press(".")
    page.get_by_text("Image 1 (test)").wait_for()
    assert "row=1" in page.url


def test_the_next_misread_image_is_one_that_python_misreads(room: Open, run: Run, images: np.ndarray) -> None:
    labels = run.split("test").labels[:IMAGES]
    wrong = np.flatnonzero(run.predict(images).argmax(axis=1) != labels)
    assert len(wrong), "the network of this test should misread something"
    page = room("row=0")
    page.get_by_role("button", name="Next misread").click()
    following = next((int(row) for row in wrong if row > 0), int(wrong[0]))
    page.wait_for_function(f"() => location.hash.includes('row={following}')")
    page.get_by_text("misread)").first.wait_for()


def test_a_temperature_turns_logits_into_probabilities(room: Open, outputs: Any) -> None:
    page = room("row=7")
    page.get_by_role("slider", name="Temperature").fill("0.5")
    powers = np.exp(outputs["logits"][7] / 10**0.5)
    shown = page.locator(".stages .probabilities .n").all_inner_texts()
    np.testing.assert_allclose([float(text.rstrip("%")) / 100 for text in shown], powers / powers.sum(), atol=6e-4)


def test_a_dropout_mask_drops_its_share_and_scales_the_rest(room: Open) -> None:
    page = room()
    values = page.evaluate("""async () => [...(await import("/web/components/dropout_masks.js"))
        .dropped(new Float32Array(20000).fill(3), 0.25)]""")
    assert set(values) == {0, 4}
    assert np.mean(np.array(values) == 0) == pytest.approx(0.25, abs=0.02)
    page.get_by_role("button", name="One mask").click()
    page.get_by_text("active values set to 0").wait_for()


def test_masks_are_not_animated_for_who_asked_for_less_motion(room: Open) -> None:
    page = room(motion="reduce")
    page.get_by_role("button", name="Draw masks").click()
    page.wait_for_timeout(1700)
    assert "In 1 masks" in page.get_by_text("active values set to 0").inner_text()


def test_saliency_of_the_trained_and_of_random_networks(room: Open) -> None:
    page = room("row=0&view=saliency")
    page.get_by_text("All maps are computed.").wait_for(timeout=120_000)
    captions = page.locator(".three figcaption").all_inner_texts()
    assert [text.partition(" ·")[0] for text in captions] == 2 * [
        "trained network",
        "last layer random",
        "all weights random",
    ]
    likeness = [float(text.rpartition(" ")[2].replace("−", "-")) for text in captions if "rank" in text]
    assert len(likeness) == 4
    assert all(-1 <= value < 0.9 for value in likeness), f"a map that ignores the weights: {likeness}"


def test_rank_correlation_is_that_of_scipy(room: Open) -> None:
    page = room()
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 20, 200).tolist(), rng.integers(0, 20, 200).tolist()
    found = page.evaluate("""async ([a, b]) =>
        (await import("/web/network/rank_correlation.js")).rankCorrelation(a, b)""", [a, b])  # fmt: skip
    assert found == pytest.approx(spearmanr(a, b).statistic)


def test_units_that_are_dead_and_images_that_excite_a_unit(room: Open, outputs: Any) -> None:
    page = room("view=units")
    page.get_by_text(f"Looked at {IMAGES} test images").wait_for(timeout=120_000)
    page.get_by_role("combobox", name="Layer").select_option(label="dense")
    dead = np.flatnonzero(outputs["dense"].max(axis=0) <= 0)
    assert DEAD in dead
    assert f"{len(dead)} of 32 units ({', '.join(map(str, dead))})" in page.inner_text("#room-inside")
    alive = int(outputs["dense"].max(axis=0).argmax())
    page.get_by_role("spinbutton", name="Unit").fill(str(alive))
    best = np.argsort(-outputs["dense"][:, alive], kind="stable")[:9]
    names = page.locator(".thumbnails button").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
    assert [int(name.split(",")[0].rpartition(" ")[2]) for name in names] == best.tolist()
    active = int((outputs["dense"][:, alive] > 0).sum())
    assert f"Unit {alive} is above 0 on {active} of {IMAGES} images." in page.inner_text("#room-inside")


def test_a_drawing_is_handed_over(room: Open) -> None:
    page = room("row=3")
    page.evaluate("() => { location.hash = 'room=draw'; location.reload() }")
    page.wait_for_selector("canvas.paper")
    box = page.locator("canvas.paper").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 300, steps=5)
    page.mouse.up()
    page.get_by_role("button", name="Look inside", exact=True).click()
    page.get_by_text("Your drawing: ").wait_for()
    page.reload()
    page.get_by_text("Your drawing: ").wait_for()


@pytest.mark.parametrize(("width", "theme", "lang"), [(390, "dark", "ko"), (1280, "dark", "en")])
@pytest.mark.parametrize("view", ["layers", "saliency", "units"])
def test_it_fits_in_both_languages(room: Open, width: int, theme: str, lang: str, view: str) -> None:
    page = room(f"row=1&view={view}", lang, width=width, theme=theme)
    assert not page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    assert ("들여다보기" in page.inner_text("h1")) == (lang == "ko")
