"""Two models on the same images: the images that only one of them misreads."""

import numpy as np
import pandas as pd

from misread.analysis.records import with_names
from misread.analysis.scored import Scored
from misread.errors import DataError

BROKEN, FIXED, BOTH = "broken", "fixed", "both wrong"
ADVICE = "Two models are compared on the same images: score both on the same data and split."


def changes(a: Scored, b: Scored) -> np.ndarray:
    """(N,) of `BROKEN` (only B misreads the image), `FIXED` (only A), `BOTH`, or "" (neither does)."""
    cases = [b.misread & ~a.misread, a.misread & ~b.misread, a.misread & b.misread]
    return np.select(cases, np.array([BROKEN, FIXED, BOTH], dtype=object), "")


@with_names
def change_table(a: Scored, b: Scored) -> pd.DataFrame:
    """One line for every image that A or B misreads: the broken first, then the fixed, then those both misread.

    Within each, the most confident mistake is first: A's for the fixed, else B's. Equals are in data order.
    Columns: change, index (row in the source), file, label, prediction_a, prediction_b, confidence_a, confidence_b.
    The table's index is the image's position in A and B.
    """
    change = changes(a, b)
    confidence = np.where(b.misread, b.confidence, a.confidence)
    place = pd.Series(change).map({BROKEN: 0, FIXED: 1, BOTH: 2, "": 3}).to_numpy(dtype=np.int64)
    order = np.lexsort((-confidence, place))
    order = order[place[order] < 3]
    names = np.array(a.class_names, dtype=object)
    return pd.DataFrame(
        {
            "change": change[order],
            "index": a.rows[order],
            "file": [a.files[i] for i in order] if a.files is not None else "",
            "label": names[a.labels[order]],
            "prediction_a": names[a.predicted[order]],
            "prediction_b": names[b.predicted[order]],
            "confidence_a": a.confidence[order],
            "confidence_b": b.confidence[order],
        },
        index=pd.Index(order, name="position"),
    )


@with_names
def class_change_table(a: Scored, b: Scored) -> pd.DataFrame:
    """One line a class, the class that worsened most first.

    Columns: class, n (images with this label), misread_a, misread_b, broken, fixed, accuracy_a, accuracy_b (NaN without
    images), difference (B's accuracy minus A's).
    """
    k = len(a.class_names)
    change = changes(a, b)

    def count(which: np.ndarray) -> np.ndarray:
        return np.bincount(a.labels[which], minlength=k)

    n = count(np.ones(len(a), dtype=bool))
    some = np.where(n > 0, n, np.nan)
    table = pd.DataFrame(
        {
            "class": list(a.class_names),
            "n": n,
            "misread_a": count(a.misread),
            "misread_b": count(b.misread),
            "broken": count(change == BROKEN),
            "fixed": count(change == FIXED),
        }
    )
    table["accuracy_a"], table["accuracy_b"] = 1 - table["misread_a"] / some, 1 - table["misread_b"] / some
    table["difference"] = (table["misread_a"] - table["misread_b"]) / some
    return table.sort_values("difference", kind="stable", ignore_index=True)


def check_same_images(a: Scored, b: Scored) -> None:
    """Raises DataError: A and B differ in classes, number, rows, file names or labels of their images."""
    if a.class_names != b.class_names:
        raise DataError(
            f"A has the classes {', '.join(a.class_names)}, but B has {', '.join(b.class_names)}.\n{ADVICE}"
        )
    if len(a) != len(b):
        raise DataError(f"A has {len(a):,} images, but B has {len(b):,}.\n{ADVICE}")
    if not len(a):
        raise DataError("There are no images to compare on.")
    names = np.array(a.class_names)
    compared: list[tuple[str, np.ndarray, np.ndarray]] = [
        ("come from other rows of the data", a.rows, b.rows),
        ("have other file names", np.array(a.files or ()), np.array(b.files or ())),
        ("have other labels", names[a.labels], names[b.labels]),
    ]
    for what, of_a, of_b in compared:
        if of_a.shape != of_b.shape:  # only one of the two has file names
            continue
        differ = np.flatnonzero(of_a != of_b)
        if len(differ):
            i = int(differ[0])
            raise DataError(
                f"{len(differ):,} of {len(a):,} images {what} in B than in A; the first, image {i:,}: "
                f"{of_b[i]} in B, {of_a[i]} in A.\n{ADVICE}"
            )
