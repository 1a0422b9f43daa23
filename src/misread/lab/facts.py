"""What an exported file says about the run that it comes from."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from misread.errors import RunError
from misread.version import __version__

if TYPE_CHECKING:
    from misread.runs.run import Run

JSON = ("class_names", "image_shape", "geometry", "accuracy", "seed")  # facts whose text is JSON; others are plain


def facts(run: "Run") -> dict[str, str]:
    """The metadata of an exported file: text by name. Values that are no text are JSON; see `facts_as_values`.

    misread:      the version that wrote the file.
    class_names:  K names, in the order of the probabilities. image_shape: [H, W, C].
    geometry:     how pictures are laid; see `Geometry`.
    data, fingerprint: the name and the fingerprint of the data that the run was trained on.
    accuracy:     on the test split of that data: `accuracy`, its 95% interval `low` to `high`, and `n` images.
    recipe:       the complete recipe as TOML. created: when the run was trained. seed: its seed.
    """
    record, test = run.record, run.metrics["test"]
    accuracy = {
        "accuracy": test["accuracy"],
        "low": test["accuracy_low"],
        "high": test["accuracy_high"],
        "n": test["n"],
    }
    return {
        "misread": __version__,
        "class_names": json.dumps(record.data.class_names, ensure_ascii=False),
        "image_shape": json.dumps(record.data.image_shape),
        "geometry": json.dumps(record.data.geometry),
        "data": record.data.name,
        "fingerprint": record.data.fingerprint,
        "accuracy": json.dumps(accuracy),
        "recipe": run.recipe.to_toml(),
        "created": record.created,
        "seed": str(record.seed),
    }


def facts_as_values(facts: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of an exported file as values. Raises RunError: one that must be JSON is not."""
    try:
        return {name: json.loads(text) if name in JSON else text for name, text in facts.items()}
    except ValueError as error:
        raise RunError(f"The metadata of the file are damaged: {error}. Export the run again.") from None
