"""The images that a second model breaks and fixes, as a gallery of two sections."""

import numpy as np
import pandas as pd

from misread.figures.gallery import Section, sections_figure, wrapped
from misread.figures.style import Picture

Shown = tuple[
    pd.DataFrame, np.ndarray, int
]  # lines to show, their images (M, H, W, C) uint8, how many there are in all


def comparison_figure(broken: Shown, fixed: Shown, names: tuple[str, str], title: str) -> Picture:
    """The broken images above the fixed ones, each titled with its label and the wrong prediction.

    broken, fixed: their tables have the columns label, prediction_a and prediction_b. names: of A and B.
    """
    sections = [
        _section(broken, "Newly broken", "A read these right, B does not", "B"),
        _section(fixed, "Fixed", "A misread these, B reads them right", "A"),
    ]
    columns = min(8, max(4, len(broken[0]), len(fixed[0])))
    return sections_figure(sections, f"A: {names[0]}    B: {names[1]}    {title}", columns)


def _section(shown: Shown, what: str, meaning: str, errs: str) -> Section:
    table, images, total = shown
    count = f"{total:,}" if len(table) == total else f"{total:,}, of which the {len(table):,} most confident"
    pairs = list(zip(table["label"], table[f"prediction_{errs.lower()}"], strict=True))
    titles = ["\n".join([wrapped(f"Label: {label}"), wrapped(f"{errs}: {read}")]) for label, read in pairs]
    return Section(titles, images, heading=f"{what}: {count}. {meaning}.")
