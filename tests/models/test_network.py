import pytest
import torch
from torch import nn

from misread.errors import RecipeError
from misread.models import layer_specs as specs
from misread.models.network import build_network
from misread.models.summary import summarise
from misread.training.recipe import load_recipe

IMAGE = (28, 28, 1)


@pytest.mark.parametrize(
    ("recipe", "by_layer"),
    [
        ("tutorial-mlp", [0, 785_000, 10_010]),
        ("tutorial-cnn", [832, 0, 8_256, 0, 0, 0, 3_137_000, 10_010]),
    ],
)
def test_tutorial_networks_have_the_published_parameters(recipe: str, by_layer: list[int]) -> None:
    summary = summarise(build_network(load_recipe(recipe).layers, IMAGE, 10), IMAGE)
    assert [row.parameters for row in summary.layers] == by_layer
    assert summary.parameters == summary.trainable == sum(by_layer)
    assert summary.size_bytes == 4 * sum(by_layer)


def test_summary_shows_keras_names_and_shapes() -> None:
    text = str(summarise(build_network(load_recipe("tutorial-cnn").layers, IMAGE, 10), IMAGE))
    lines = [line.split("  ") for line in text.splitlines()]
    cells = [[c.strip() for c in line if c.strip()] for line in lines]
    assert cells[2] == ["conv2d", "Conv2D (relu)", "(None, 28, 28, 32)", "832"]
    assert cells[5] == ["max_pooling2d_1", "MaxPooling2D", "(None, 7, 7, 64)", "0"]
    assert cells[7] == ["flatten", "Flatten", "(None, 3136)", "0"]
    assert cells[9] == ["dense_1", "Dense (softmax)", "(None, 10)", "10,010"]
    assert "3,156,098 parameters (3,156,098 trainable, 0 fixed), 12.04 MB" in text


def test_batch_normalization_counts_its_moving_averages_as_keras_does() -> None:
    layer_list = (specs.Flatten(), specs.BatchNormalization(), specs.Dense(units="classes"))
    summary = summarise(build_network(layer_list, (2, 3, 1), 2), (2, 3, 1))
    assert summary.parameters == 6 * 4 + 6 * 2 + 2
    assert summary.trainable == 6 * 2 + 6 * 2 + 2


def test_the_softmax_belongs_to_the_prediction() -> None:
    with_softmax = (specs.Flatten(), specs.Dense(units="classes", activation="softmax"))
    without = (specs.Flatten(), specs.Dense(units="classes"))
    as_layer = (*without, specs.ActivationLayer(activation="softmax"))
    x = torch.randn(3, 1, 4, 4)
    logits = []
    for layer_list in (with_softmax, without, as_layer):
        torch.manual_seed(0)
        logits.append(build_network(layer_list, (4, 4, 1), 5)(x))
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])
    assert not torch.allclose(logits[0].sum(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ("layer_list", "message"),
    [
        ((specs.Dense(units=5),), r"Layer 1 \(Dense\): it needs flat input, but gets images of 6x6x1"),
        (
            (specs.Flatten(), specs.Conv2D(filters=2, kernel_size=3)),
            r"Layer 2 \(Conv2D\): it needs images, but gets 36 numbers",
        ),
        (
            (specs.Conv2D(filters=2, kernel_size=7),),
            r"Layer 1 \(Conv2D\): its window of 7x7 is larger than its input of 6x6",
        ),
        ((specs.MaxPooling2D(pool_size=(2, 8)),), r"Layer 1 \(MaxPooling2D\): its window of 2x8 is larger"),
        ((specs.Flatten(), specs.Dense(units=7)), r"gives 7 numbers, but the data has 10 classes"),
        ((specs.Conv2D(filters=10, kernel_size=3),), r"gives images of 4x4x10 .* but the data has 10 classes"),
    ],
)
def test_layers_that_do_not_fit_are_named(layer_list: tuple[specs.LayerSpec, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_network(layer_list, (6, 6, 1), 10)


def test_a_kernel_as_large_as_the_image_still_fits() -> None:
    layer_list = (specs.Conv2D(filters=10, kernel_size=6), specs.Flatten())
    assert build_network(layer_list, (6, 6, 1), 10)(torch.zeros(2, 1, 6, 6)).shape == (2, 10)


def test_all_layers_run_together_on_colour() -> None:
    layer_list = (
        specs.Conv2D(filters=4, kernel_size=(3, 2), strides=2, padding="same", activation="leaky_relu", use_bias=False),
        specs.BatchNormalization(),
        specs.ActivationLayer(activation="gelu"),
        specs.AveragePooling2D(pool_size=2, padding="same"),
        specs.Dropout(rate=0.1),
        specs.GlobalAveragePooling2D(),
        specs.Dense(units="classes", activation="softmax"),
    )
    net = build_network(layer_list, (11, 9, 3), 7)
    assert net(torch.rand(4, 3, 11, 9)).shape == (4, 7)
    assert net.output_shapes == ((6, 5, 4), (6, 5, 4), (6, 5, 4), (3, 3, 4), (3, 3, 4), (4,), (7,))


def test_a_network_can_be_sliced_and_its_repr_shows_the_activations() -> None:
    network = build_network(load_recipe("tutorial-mlp").layers, IMAGE, 10)
    hidden = network[:2](torch.rand(3, *IMAGE[::-1]))
    assert hidden.shape == (3, 1000)
    assert hidden.min() >= 0
    assert "activation=relu" in repr(network)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 3, 3), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([self.left(x), self.right(x)], dim=1)
        return self.head(both.mean(dim=(2, 3)))


def test_a_module_with_branches_has_a_summary() -> None:
    summary = summarise(Branches(), (8, 8, 1))
    assert [(r.name, r.output_shape, r.parameters) for r in summary.layers] == [
        ("left", (6, 6, 2), 20),
        ("right", (6, 6, 3), 30),
        ("head", (4,), 24),
    ]
    assert summary.parameters == 74


CONV = specs.Conv2D(filters=6, kernel_size=3, padding="same", use_bias=False)
RELU = specs.ActivationLayer(activation="relu")
END = (specs.GlobalMaxPooling2D(), specs.Dense(units="classes"))


def test_a_residual_layer_adds_its_input() -> None:
    torch.manual_seed(0)
    network = build_network((CONV, specs.Residual(layers=(CONV, RELU)), *END), (7, 9, 3), 4)
    x = torch.rand(2, 3, 7, 9)
    first = network[0](x)
    inner = network[1][0](first).relu()
    assert torch.equal(network[:2](x), first + inner)
    assert torch.allclose(network(x), network[3]((first + inner).amax(dim=(2, 3))))


def test_a_summary_lists_the_layers_inside_a_residual_layer() -> None:
    network = build_network((CONV, specs.Residual(layers=(CONV, RELU)), *END), (7, 9, 3), 4)
    summary = summarise(network, (7, 9, 3))
    assert [(r.name, r.output_shape, r.parameters) for r in summary.layers] == [
        ("conv2d", (7, 9, 6), 3 * 3 * 3 * 6),
        ("residual.conv2d", (7, 9, 6), 3 * 3 * 6 * 6),
        ("residual.activation", (7, 9, 6), 0),
        ("residual", (7, 9, 6), 0),
        ("global_max_pooling2d", (6,), 0),
        ("dense", (4,), 28),
    ]
    assert summary.parameters == sum(row.parameters for row in summary.layers)


@pytest.mark.parametrize(
    ("layer_list", "message"),
    [
        (
            (CONV, specs.Residual(layers=(specs.MaxPooling2D(),)), *END),
            r"Layer 2 \(Residual\): its layers turn .*8x8x6",
        ),
        ((specs.Residual(layers=(CONV,)), *END), r"Layer 1 \(Residual\): .*as many filters in its last convolution"),
        (
            (specs.Residual(layers=(CONV, specs.Dense(units=3))), *END),
            r"Layer 1 \(Residual\): Layer 2 \(Dense\): it needs",
        ),
        ((CONV, specs.Whitening(filters=4), *END), "Whitening layer can only be the first"),
        ((specs.Residual(layers=(specs.Whitening(filters=4),)), *END), "Whitening layer can only be the first"),
        ((specs.Whitening(filters=4, kernel_size=9), *END), r"Layer 1 \(Whitening\): its window of 9x9 is larger"),
    ],
)
def test_residual_and_whitening_layers_that_do_not_fit_are_refused(
    layer_list: tuple[specs.LayerSpec, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        build_network(layer_list, (8, 8, 3), 4)


def test_whitened_patches_have_no_correlation_and_variance_1() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(200, 3, 12, 12, generator=generator)
    images = (images + images.roll(1, dims=3) + images.roll(1, dims=1)) / 3  # neighbours and channels that correlate
    network = build_network((specs.Whitening(filters=24), *END), (12, 12, 3), 4)
    whitening = network[0]
    whitening.fit(images)
    outputs = whitening(images).movedim(1, -1).flatten(0, 2).double()
    positive, negative = outputs[:, ::2], outputs[:, 1::2]
    assert torch.allclose(positive, -negative, atol=1e-5)
    assert positive.mean(dim=0).abs().max() < 0.05
    assert (torch.cov(positive.T) - torch.eye(12)).abs().max() < 0.1
    assert not any(p.requires_grad for p in whitening.parameters())


def test_whitening_has_no_more_filters_than_its_patches_have_directions() -> None:
    network = build_network((specs.Whitening(filters=24), *END), (12, 12, 1), 4)
    assert network.output_shapes[0] == (11, 11, 8)
