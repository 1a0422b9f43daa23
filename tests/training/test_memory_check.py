"""Recipes that need more memory than the machine has: refused before anything is allocated."""

import re
from collections.abc import Callable

import pytest

from misread.errors import RecipeError
from misread.training import memory_check
from misread.training.memory_check import check_memory
from misread.training.recipe import load_recipe
from samples import Result

MLP = load_recipe("tutorial-mlp")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "layers.1.units=2000000000",
            "at least 26.2 TB of memory, but this machine has .* dense .* 1,570,000,000,000 par",
        ),
        ("layers.1.units=9999999999999999999999", "should be less than or equal to 2147483647"),
        ("members=1000000000", "It has 1,000,000,000 members; lower this number"),
    ],
)
def test_a_layer_of_6_tb_is_one_message(cli: Callable[..., Result], setting: str, said: str) -> None:
    result = cli("train", "digits", "--set", setting)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert re.search(said, " ".join(result.err.split()))


def test_the_needed_memory_is_that_of_a_count_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = 4 * (784 * 1000 + 1000 + 1000 * 10 + 10)
    outputs = 4 * MLP.batch_size * (784 + 1000 + 10)
    needed = weights * 4 + outputs  # the weights, their gradients, and Adam's two moments
    monkeypatch.setattr(memory_check, "memory_bytes", lambda: needed)
    check_memory(MLP, (28, 28, 1), 10, 60_000)
    monkeypatch.setattr(memory_check, "memory_bytes", lambda: needed - 1)
    with pytest.raises(RecipeError, match="The largest layer is dense"):
        check_memory(MLP, (28, 28, 1), 10, 60_000)
    check_memory(MLP, (28, 28, 1), 10, 0)  # to predict, the weights are enough
    monkeypatch.setattr(memory_check, "memory_bytes", lambda: None)  # an unknown memory refuses nothing
    check_memory(MLP, (28, 28, 1), 10, 60_000)


@pytest.mark.parametrize("kind", ["AveragePooling2D", "MaxPooling2D"])
def test_windows_that_are_mostly_padding_are_refused(kind: str) -> None:
    def recipe(side: int) -> object:
        return MLP.replace(layers=[{"type": kind, "pool_size": side, "padding": "same"}, *MLP.layers])

    check_memory(recipe(56), (28, 28, 1), 10, 100)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"Layer 1 .* its window of 57x57 is more than twice its input of 28x28"):
        check_memory(recipe(57), (28, 28, 1), 10, 100)  # type: ignore[arg-type]


def test_weights_that_cannot_be_counted_name_their_layer() -> None:
    wide, end = ({"type": "Dense", "units": units} for units in (2**31 - 1, "classes"))
    with pytest.raises(RecipeError, match=r"Layer 3 \(Dense\): its weights do not fit into any memory"):
        check_memory(MLP.replace(layers=[{"type": "Flatten"}, wide, wide, end]), (28, 28, 1), 10, 100)
