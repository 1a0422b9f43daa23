"""What several ranks refuse before they begin."""

from types import SimpleNamespace
from typing import Any

import pytest

from misread.errors import RecipeError
from misread.runs import together
from misread.training.ranks import Ranks


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"seconds": None, "backbone": "timm:resnet18"}, "Several ranks cannot train on a backbone"),
        ({"seconds": 5.0, "backbone": None}, "Ranks cannot train by seconds, because their clocks differ"),
    ],
)
def test_recipes_that_ranks_cannot_train_are_refused_by_ranks_alone(
    recipe: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Any = SimpleNamespace(recipe=SimpleNamespace(**recipe))
    state: Any = None
    together.agree(job, state)  # one process without torchrun
    monkeypatch.setattr(together, "current_ranks", lambda: Ranks(0, 2))
    with pytest.raises(RecipeError, match=message):
        together.agree(job, state)
