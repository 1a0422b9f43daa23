"""What an exported file says about the run that it comes from."""

import json

from misread.runs.run import Run
from misread.version import __version__


def facts(run: Run) -> dict[str, str]:
    """The metadata of an exported file: text by name. Values that are no text are JSON.

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
