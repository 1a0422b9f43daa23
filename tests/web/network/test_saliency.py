"""Occlusion, integrated gradients and randomised weights, in the page."""

import numpy as np
import pytest
import torch
from network_pages import ON_IMAGES, NetworkPage
from networks import every_layer, settled

from misread.models.network import network_logits
from misread.training.recipe import Recipe, load_recipe

IMAGES = np.random.default_rng(3).integers(0, 256, (2, 13, 11, 3), dtype=np.uint8)
FINISHED = (
    ON_IMAGES
    + """
    const { integratedGradients, occlusion } = await load("network/saliency.js");
    const finished = (steps) => { for (;;) { const { done, value } = steps.next(); if (done) return value; } };"""
)


def test_integrated_gradients_add_up_to_the_difference_of_the_logits(page: NetworkPage) -> None:
    recipe = every_layer("tanh")
    network = settled(recipe, IMAGES, 4)
    page.give(recipe, network, IMAGES, 4)
    shares = np.array(
        page.run(FINISHED + "return [...finished(integratedGradients(model, image(0), 2, { steps: 200 }))];")
    )
    assert shares.shape == (13 * 11,)
    with torch.no_grad():
        logits = network_logits(network, torch.from_numpy(np.stack([IMAGES[0], np.zeros_like(IMAGES[0])])))[:, 2]
    assert shares.sum() == pytest.approx(float(logits[0] - logits[1]), abs=2e-3)


def test_integrated_gradients_of_a_linear_network_are_weight_times_input(page: NetworkPage) -> None:
    recipe = load_recipe(Recipe(), {"layers": [{"type": "Flatten"}, {"type": "Dense", "units": "classes"}]})
    network = settled(recipe, IMAGES, 4)
    page.give(recipe, network, IMAGES, 4)
    shares = np.array(
        page.run(FINISHED + "return [...finished(integratedGradients(model, image(0), 1, { steps: 3 }))];")
    )
    weights = network[1].weight[1].detach().numpy().reshape(13, 11, 3)
    np.testing.assert_allclose(shares.reshape(13, 11), (weights * IMAGES[0] / 255).sum(axis=2), atol=1e-5)


def test_occlusion_is_the_mean_fall_over_the_patches_that_cover_a_pixel(page: NetworkPage) -> None:
    recipe = every_layer("relu")
    network = settled(recipe, IMAGES, 4)
    page.give(recipe, network, IMAGES, 4)
    found = page.run(
        FINISHED
        + """const map = () => occlusion(model, image(0), 1, { patch: 4, stride: 3, fill: 200 });
        const steps = [...map()];
        return [[...finished(map())], steps.at(-1), steps.length];"""
    )

    def probability(image: np.ndarray) -> float:
        with torch.no_grad():
            return float(network_logits(network, torch.from_numpy(image[None])).softmax(1)[0, 1])

    falls: list[list[list[float]]] = [[[] for _ in range(11)] for _ in range(13)]
    patches = 0
    for top in range(-3, 13, 3):
        for left in range(-3, 11, 3):
            hidden = IMAGES[0].copy()
            rows, columns = slice(max(top, 0), top + 4), slice(max(left, 0), left + 4)
            hidden[rows, columns] = 200
            fall = probability(IMAGES[0]) - probability(hidden)
            patches += 1
            for y in range(13)[rows]:
                for x in range(11)[columns]:
                    falls[y][x].append(fall)
    expected = [np.mean(one) if one else 0 for row in falls for one in row]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    assert found[1:] == [{"done": patches, "total": patches}, patches]


def test_randomised_weights_change_only_the_last_layers_and_repeat_with_their_seed(page: NetworkPage) -> None:
    recipe = every_layer("relu")
    page.give(recipe, settled(recipe, IMAGES, 4), IMAGES, 4)
    found = page.run(
        ON_IMAGES
        + """
        const values = (m) => m.trace(image(0)).map((step) => [...step.values]);
        const kernels = (m) => m.tensors[0].get("dense_1/kernel");
        const changed = (count, seed) => values(model.randomised(count, seed));
        return [values(model), changed(2, 5), changed(2, 5), changed(2, 6), changed(0, 5),
                Math.max(...kernels(model.randomised(1, 1)).map(Math.abs))];"""
    )
    own, changed, again, other, none, largest = found
    same = [a == b for a, b in zip(own, changed, strict=True)]
    assert same == [True] * 9 + [False] * 3  # the two dense layers, and batch normalisation between them
    assert changed == again != other
    assert none == own
    assert 0.5 < largest / np.sqrt(6 / (9 + 4)) <= 1
