"""Convolutions by WebAssembly, and by JavaScript in a page without it: both give what PyTorch gives."""

from typing import Any

import numpy as np
import pytest
import torch
from network_pages import ON_IMAGES, NetworkPage
from networks import settled

from misread.training.recipe import Recipe, load_recipe

# image shape, filters, kernel, strides, padding
CONVOLUTIONS = [
    ((7, 6, 1), 1, 1, 1, "valid"),
    ((28, 28, 1), 16, 5, 1, "valid"),
    ((13, 11, 3), 6, (3, 2), (1, 2), "same"),
    ((9, 10, 4), 8, 2, 3, "same"),  # pixels between the windows
    ((10, 9, 4), 17, (1, 3), 2, "valid"),
    ((3, 3, 130), 9, 3, 1, "same"),
    ((4, 4, 2), 24, 4, 1, "valid"),  # one pixel
    ((40, 40, 20), 8, 3, 1, "same"),  # more than one page of memory
]
KERNEL = 'const { hasKernel } = await load("network/convolution_kernel.js");'


def convolving(
    shape: tuple[int, int, int], filters: int, kernel: Any, strides: Any, padding: str
) -> tuple[Recipe, Any, np.ndarray]:
    """A recipe that begins with this convolution, a network by it, and two images."""
    layer = {"filters": filters, "kernel_size": kernel, "strides": strides, "padding": padding}
    layers = [{"type": "Conv2D", **layer}, {"type": "Flatten"}, {"type": "Dense", "units": "classes"}]
    recipe = load_recipe(Recipe(), {"layers": layers})
    images = np.random.default_rng(filters).integers(0, 256, (2, *shape), dtype=np.uint8)
    return recipe, settled(recipe, images, 3), images


@pytest.mark.parametrize("there", [True, False])
def test_convolutions_of_every_shape_are_those_of_pytorch(page: NetworkPage, there: bool) -> None:
    if not there:
        page.run("delete globalThis.WebAssembly;")
    assert page.run(KERNEL + "return hasKernel;") == there
    for shape, *how in CONVOLUTIONS:
        recipe, net, images = convolving(shape, *how)
        page.give(recipe, net, images, 3)
        found = page.run(
            ON_IMAGES
            + """return [0, 1, 0].map((i) => {
              const { shape, values } = model.trace(image(i))[0];
              return [shape, [...values]];
            });"""
        )
        with torch.no_grad():
            x = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
            expected = net[0].double()(x).movedim(1, -1).numpy()
        for (size, values), image in zip(found, [0, 1, 0], strict=True):
            assert size == list(expected[image].shape)
            np.testing.assert_allclose(np.reshape(values, size), expected[image], atol=1e-5, err_msg=f"{shape} {how}")
