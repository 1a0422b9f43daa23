import numpy as np
import pytest
import torch
from torch import nn

from misread.models.ensemble import Ensemble, mean_log_probs
from misread.models.layer_specs import Conv2D, Dense, Flatten
from misread.models.network import build_network
from misread.models.summary import summarise
from misread.models.views import MeanOverViews, moved, views

LAYERS = (Conv2D(filters=3, kernel_size=3, activation="relu"), Flatten(), Dense(units="classes"))


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(LAYERS, (8, 8, 1), 4)


def images(count: int = 17) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def by_hand(logits: torch.Tensor) -> np.ndarray:
    """Softmax in double precision."""
    exact = np.exp(logits.detach().double().numpy())
    return exact / exact.sum(-1, keepdims=True)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_ensemble_gives_the_mean_of_its_members_probabilities(count: int) -> None:
    members = [network(seed) for seed in range(count)]
    mean = np.mean([by_hand(member(images())) for member in members], axis=0)
    output = Ensemble(members)(images())
    np.testing.assert_allclose(output.exp().detach(), mean, atol=1e-6)  # log probabilities as they are,
    np.testing.assert_allclose(output.softmax(1).detach(), mean, atol=1e-6)  # and as logits


def test_a_certain_and_wrong_member_leaves_finite_logits() -> None:
    one, other = torch.tensor([[500.0, 0.0]]), torch.tensor([[0.0, 500.0]])
    assert mean_log_probs([one, other]).exp().tolist() == [[0.5, 0.5]]
    assert mean_log_probs([one, one]).isfinite().all()


def test_an_ensemble_loads_from_its_state_dict_and_has_a_summary() -> None:
    ensemble, other = Ensemble(map(network, (0, 1))), Ensemble(map(network, (2, 3)))
    other.load_state_dict(ensemble.state_dict())
    assert torch.equal(other(images()), ensemble(images()))
    one, both = summarise(network(0), (8, 8, 1)), summarise(ensemble, (8, 8, 1))
    assert both.parameters == 2 * one.parameters
    assert [row.output_shape for row in both.layers] == [row.output_shape for row in one.layers] * 2


def test_a_shifted_image_repeats_its_edge() -> None:
    image = torch.arange(12).view(1, 3, 4)
    assert moved(image, 1, -2).tolist() == [[[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]]
    assert moved(image, -1, -2).tolist() == [[[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]]]
    assert moved(image, 2, -1).tolist() == [[[0, 0, 0, 1], [4, 4, 4, 5], [8, 8, 8, 9]]]
    assert moved(image, -9, -1).tolist() == [[[3] * 4, [7] * 4, [11] * 4]]


@pytest.mark.parametrize(("shift", "flip", "count"), [(0, False, 1), (1, False, 5), (0, True, 2), (2, True, 10)])
def test_views_are_distinct_and_begin_with_the_image_in_both_layouts(shift: int, flip: bool, count: int) -> None:
    found = torch.stack(list(views(images(1), shift, flip)))
    assert torch.equal(found[0], images(1))
    assert len(found.flatten(1).unique(dim=0)) == len(found) == count
    last = torch.stack(list(views(images(1).movedim(1, -1), shift, flip, height=1, width=2)))
    assert torch.equal(last.movedim(-1, 2), found)


def test_predictions_are_the_mean_over_the_views() -> None:
    plain = network(0).eval()
    wrapped = MeanOverViews(plain, shift=1, flip=False).eval()
    padded = nn.functional.pad(images(), (1, 1, 1, 1), mode="replicate")
    crops = [padded[..., y : y + 8, x : x + 8] for y, x in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]
    mean = np.mean([by_hand(plain(crop)) for crop in crops], axis=0)
    np.testing.assert_allclose(wrapped(images()).exp().detach(), mean, atol=1e-6)
    one_by_one = torch.cat([wrapped(image[None]) for image in images()])
    torch.testing.assert_close(one_by_one, wrapped(images()), rtol=0, atol=1e-6)  # whatever the batch
    assert torch.equal(wrapped.train()(images()), plain(images()))


def test_a_shift_invariant_network_predicts_the_same_with_views() -> None:
    class Counts(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum((1, 2, 3))[:, None] * torch.tensor([0.1, -0.1])

    ground = nn.functional.pad(images(), (2, 2, 2, 2))  # nothing is lost over the side
    torch.testing.assert_close(
        MeanOverViews(Counts(), 2, True).eval()(ground), Counts()(ground).log_softmax(1), rtol=0, atol=1e-5
    )
