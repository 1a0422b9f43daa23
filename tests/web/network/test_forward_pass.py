"""The network in the page gives what PyTorch gives: predictions, every layer's output, gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from network_pages import ON_IMAGES, NetworkPage
from networks import ACTIVATIONS, every_layer, pooled, settled
from torch import nn

import misread
from misread import ImageSet
from misread.models.network import network_logits, to_input
from misread.training.networks import predictor_network
from misread.training.recipe import Recipe, load_recipe, recipe_names

pytestmark = pytest.mark.usefixtures("without_pictures")

CLOSE = 1e-4
IMAGES = {
    "accurate": 60,
    "tutorial-cnn": 100,
    "photo": 12,
    "photo-accurate": 4,
    "photo-fast": 60,
}  # fewer where an image takes many products
PREDICT = ON_IMAGES + "return Array.from({ length: count }, (_, i) => [...model.predict(image(i))]);"


def probabilities(network: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network_logits(network.cpu().eval(), torch.from_numpy(np.ascontiguousarray(images))).softmax(1).numpy()


def noise(n: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def few() -> ImageSet:
    """A few digits: what the page does with a network does not depend on how long it was trained."""
    train, test = misread.load("digits").train, misread.load("digits").test
    return ImageSet.from_arrays(train.images[:300], train.labels[:300], test=(test.images[:100], test.labels[:100]))


@pytest.mark.parametrize("name", recipe_names())
def test_a_trained_network_predicts_the_same_in_the_page(
    name: str, few: ImageSet, page: NetworkPage, tmp_path: Any
) -> None:
    quick = {"epochs": 2, "batch_size": 64, "image_scales": [0.5 if name.startswith("photo") else 1.0]}
    run = misread.train(few, name, settings=quick, out=tmp_path, progress=False)
    images = run.split("test").images[: IMAGES.get(name)]
    page.given |= {"model": run.model_file(), "images": images.tobytes()}
    found, expected = np.array(page.run(PREDICT)), probabilities(run.network, images)
    assert np.abs(found - expected).max() < CLOSE
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "tutorial-mlp", "tutorial-cnn", "fast-mlp", "accurate"])
def test_1000_images_of_mnist_are_read_the_same_in_the_page(
    name: str, page: NetworkPage, tmp_path: Any, mnist_root: Any
) -> None:
    quick = {"epochs": 1, "batch_size": 256}
    run = misread.train("mnist", name, settings=quick, out=tmp_path, progress=False)
    images = np.asarray(run.split("test").images[:1000])
    page.given |= {"model": run.model_file(), "images": images.tobytes()}
    found, expected = np.array(page.run(PREDICT)), probabilities(run.network, images)
    assert np.abs(found - expected).max() < CLOSE
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


RECIPES = [*(every_layer(a) for a in ACTIVATIONS), every_layer("relu", "tanh"), every_layer("gelu", "linear")]
RECIPES += [pooled("GlobalMaxPooling2D"), pooled("GlobalAveragePooling2D")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_layer_and_activation_and_the_gradient(recipe: Recipe, page: NetworkPage) -> None:
    images = noise(12, (13, 11, 3))
    network = settled(recipe, images, 4)
    page.give(recipe, network, images, 4)
    found = page.run(
        ON_IMAGES
        + """
        const flat = (steps) => steps.flatMap((step) => [...(step.inner ? flat(step.inner) : []), step]);
        return {
          probs: Array.from({ length: count }, (_, i) => [...model.predict(image(i))]),
          logits: [...model.logits(image(0))],
          trace: flat(model.trace(image(0))).map(({ layer, shape, values }) => [layer.name, shape, [...values]]),
          gradients: [0, 1, 2, 3].map((k) => [...model.gradient(image(0), k)]),
          again: [...model.traceFrom(2, model.trace(image(0))[2].values).at(-1).values],
        };"""
    )
    assert np.abs(np.array(found["probs"]) - probabilities(network, images)).max() < CLOSE
    x = to_input(torch.from_numpy(images[:1])).requires_grad_()
    seen: list[tuple[str, torch.Tensor]] = []
    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(
                lambda m, i, out, name=name: seen.append((name.rpartition(".")[2], out.detach()))
            )
    logits = network(x)[0]
    np.testing.assert_allclose(found["logits"], logits.detach().numpy(), atol=1e-5)
    assert [name for name, _, _ in found["trace"]] == [name for name, _ in seen]
    for (_, shape, values), (name, output) in zip(found["trace"][:-1], seen[:-1], strict=True):
        expected = output[0].movedim(0, -1).numpy()
        assert list(expected.shape) == shape, name
        np.testing.assert_allclose(np.reshape(values, shape), expected, atol=1e-5, err_msg=name)
    last = logits.softmax(0) if network.final_softmax else logits  # the trace shows the softmax that the recipe names
    np.testing.assert_allclose(found["trace"][-1][2], last.detach().numpy(), atol=1e-5)
    assert found["again"] == found["trace"][-1][2]
    for k, gradient in enumerate(found["gradients"]):
        (expected_gradient,) = torch.autograd.grad(logits[k], x, retain_graph=True)
        np.testing.assert_allclose(
            gradient,
            expected_gradient[0].movedim(0, -1).flatten().numpy(),
            atol=1e-5 * float(expected_gradient.abs().max() + 1),
        )


def test_members_and_views_are_averaged(page: NetworkPage) -> None:
    images = noise(6, (9, 9, 1))
    layers = [
        {"type": "Flatten"},
        {"type": "Dense", "units": 8, "activation": "tanh"},
        {"type": "Dense", "units": "classes"},
    ]
    for views in ({"shift": 2, "flip": True}, {"shift": 1}, {"flip": True}, None):
        changes = {"layers": layers, "members": 3} | ({"test_time_augmentation": views} if views else {})
        recipe = load_recipe(Recipe(), changes)
        network = predictor_network(settled(recipe, images, 5), recipe)
        page.give(recipe, network, images, 5)
        np.testing.assert_allclose(page.run(PREDICT), probabilities(network, images), atol=1e-6)
        in_steps = page.run(ON_IMAGES + "return [...model.predicting(image(1))].map((probs) => [...probs]);")
        assert in_steps[-1] == page.run(PREDICT)[1]
        assert len(in_steps) == 3 * (5 if "shift" in (views or {}) else 1) * (2 if "flip" in (views or {}) else 1)


def test_max_pooling_says_which_value_it_chose_and_layers_what_they_got(page: NetworkPage) -> None:
    images = noise(1, (13, 11, 3))
    recipe = every_layer("relu")
    page.give(recipe, settled(recipe, images, 4), images, 4)
    found = page.run(
        ON_IMAGES
        + """const trace = model.trace(image(0));
        const [, conv, pooling] = trace;
        const { preactivation, values } = trace[9];
        return [conv.values, pooling.argmax, pooling.values, preactivation, values].map((one) => [...one]);"""
    )
    before, chosen, values, got, given = map(np.array, found)
    np.testing.assert_array_equal(before[chosen], values)
    np.testing.assert_array_equal(np.maximum(got, 0).astype(np.float32), given.astype(np.float32))
    assert (got < 0).any()


def test_the_wrong_number_of_pixels_is_refused(page: NetworkPage) -> None:
    recipe, images = load_recipe("tutorial-mlp"), noise(1, (4, 4, 1))
    page.give(recipe, settled(recipe, images, 10), images)
    message = page.run(ON_IMAGES + "try { model.predict(new Uint8Array(15)); } catch (error) { return error.message; }")
    assert message == "The image has 15 values; the network needs 4 x 4 x 1."
