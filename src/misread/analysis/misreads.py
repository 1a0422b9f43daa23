"""The table of misread images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from misread.analysis.records import with_names
from misread.analysis.scored import Scored


@with_names
def misread_table(scored: Scored, hashes: Sequence[str] | None = None) -> pd.DataFrame:
    """One line for every misread image, in the order of `Scored.misread_positions`.

    hashes: the `image_hash` of each of them, in that order, for the column hash.
    Columns: index (row in the source), file, label, prediction (names), confidence, margin, loss, rank (of the label
    among the classes; 1 is the most probable), second, second_probability, third, third_probability (the next two
    classes after the prediction; with two classes there is no third), and hash.
    """
    misread = scored.take(scored.misread_positions)
    order = np.argsort(-misread.probs, axis=1, kind="stable")
    names = np.array(scored.class_names, dtype=object)
    table = pd.DataFrame(
        {
            "index": misread.rows,
            "file": misread.files if misread.files is not None else "",
            "label": names[misread.labels],
            "prediction": names[order[:, 0]],
            "confidence": misread.confidence,
            "margin": misread.margin,
            "loss": misread.losses,
            "rank": (order == misread.labels[:, None]).argmax(axis=1) + 1,
        }
    )
    for place, name in enumerate(("second", "third")[: len(names) - 1], start=1):
        table[name] = names[order[:, place]]
        table[f"{name}_probability"] = np.take_along_axis(misread.probs, order, axis=1)[:, place]
    if hashes is not None:
        table["hash"] = hashes
    return table
