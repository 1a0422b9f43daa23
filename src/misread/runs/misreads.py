"""The misread images that a user holds: a choice from them, their causes, and pictures."""

from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from misread.analysis.causes import Cause, find_cause
from misread.analysis.explanation import Explanation
from misread.analysis.misreads import misread_table
from misread.analysis.scored import Scored
from misread.data.image_hash import image_hashes
from misread.data.label_patch import HASH
from misread.errors import DataError
from misread.runs import run_folder
from misread.runs.explain import explain, explain_without_run
from misread.runs.stored_run import StoredRun

if TYPE_CHECKING:
    from misread.figures.style import Picture


class Misreads:
    """Misread images of one split, the most confident mistake first.

    table: a DataFrame, one line an image. Columns: those of `misread_table`, with hash if the images are known; after
           `explain` also cause, cause_probability and evidence.
    scored: all images of the split. run: the run that scored them; without it, causes come from probabilities alone.
    """

    def __init__(self, scored: Scored, run: StoredRun | None = None) -> None:
        """Raises DataError or RunError: the images are needed for their hashes, and cannot be loaded."""
        self.scored = scored
        self.table = misread_table(scored, _hashes(scored, run))
        self._positions = scored.misread_positions  # in `scored`, of each line of the table
        self._run = run
        self._explanation: Explanation | None = None
        self._cause: Cause | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def total(self) -> int:
        """How many images of the split were misread; `len` counts only those in this choice."""
        return len(self.scored.misread_positions)

    @property
    def images(self) -> np.ndarray:
        """(M, H, W, C) uint8, the images of the table. Raises DataError or RunError: they cannot be loaded."""
        return np.asarray(self.scored.images[self._positions])

    def sample(self, count: int = 16, seed: int = 0) -> "Misreads":
        """`count` of these drawn by the seed, or all if there are fewer; still the most confident first."""
        chosen = np.random.default_rng(seed).choice(len(self), min(count, len(self)), replace=False)
        return self._choose(np.sort(chosen))

    def top(self, count: int = 16) -> "Misreads":
        """The `count` most confident mistakes, or all if there are fewer."""
        return self._choose(np.arange(min(count, len(self))))

    def explain(self, *others: StoredRun) -> "Misreads":
        """The same images with the columns cause, cause_probability and evidence: see docs/causes.md. It takes seconds.

        others: runs on the same data, whose predictions are further evidence.
        Raises DataError or RunError: the training images cannot be loaded, or another run may have trained on these
        images.
        """
        explained = self._choose(np.arange(len(self)))
        explained._explanation = self.explanation(*others)
        lines = pd.Index(self.scored.misread_positions).get_indexer(pd.Index(self._positions))
        for column, values in explained._explanation.reasons.drop(columns="index").items():
            explained.table[column] = values.to_numpy()[lines]
        return explained

    def with_cause(self, cause: str) -> "Misreads":
        """Those with this cause, explained first if they are not. Raises DataError: there is no such cause."""
        wanted = find_cause(cause)
        explained = self if "cause" in self.table else self.explain()
        chosen = explained._choose(np.flatnonzero(explained.table["cause"] == wanted))
        chosen._cause = wanted
        return chosen

    @property
    def neighbours(self) -> pd.DataFrame:
        """The nearest training images of these: see `neighbour_table`."""
        found = self.explanation().neighbours
        return found[found["index"].isin(self.table["index"])].reset_index(drop=True)

    def explanation(self, *others: StoredRun) -> Explanation:
        """Causes and neighbours of all misread images, computed once unless there are other runs. As `explain`."""
        if self._explanation is not None and not others:
            return self._explanation
        if self._run is not None:
            found = explain(self.scored, self._run, others)
        elif others:
            raise DataError("These misreads come from no run, so no other run is known to have the same data.")
        else:
            found = explain_without_run(self.scored)
        self._explanation = self._explanation if others else found
        return found

    def _choose(self, lines: np.ndarray) -> "Misreads":
        chosen = copy(self)
        chosen.table = self.table.iloc[lines].reset_index(drop=True)
        chosen._positions = self._positions[lines]
        return chosen

    @property
    def title(self) -> str:
        cause = f", {self._cause}" if self._cause else ""
        source = f"{self._run.record.data.name} {self.scored.split}" if self._run else self.scored.title
        return f"{len(self):,} of {self.total:,} misread{cause} ({source}, {len(self.scored):,} images)"

    def figure(self) -> "Picture":
        """The gallery: every image here with its label and prediction."""
        from misread.figures.misreads import misreads_figure

        return misreads_figure(self.table, self.images, self.title)

    def neighbour_figure(self) -> "Picture":
        """Every image here with its cause, and beside it the training images nearest to it."""
        from misread.figures.neighbours import neighbours_figure

        explained, neighbours = self.explain(), self.neighbours
        training = self.explanation().training_images_of(neighbours["training_index"].to_numpy())
        return neighbours_figure(explained.table, self.images, neighbours, training, self.title)

    def show(self) -> None:
        """Show the gallery: below the cell of a notebook, else in the system's image viewer."""
        self.figure().show()

    def __repr__(self) -> str:
        return f"{self.title}\n{self._columns_to_show()}"

    def _repr_html_(self) -> str:
        html: str = self._columns_to_show().to_html(max_rows=20)
        return f"<p>{self.title}</p>{html}"

    def _columns_to_show(self) -> pd.DataFrame:
        """The table without hashes, and without the column of file names if images have none."""
        hidden = ["hash"] if self.table["file"].any() else ["hash", "file"]
        return self.table.drop(columns=hidden, errors="ignore")


def _hashes(scored: Scored, run: StoredRun | None) -> Any:
    """The hash of each misread image, or None without images; from the run folder if possible, without the data."""
    positions = scored.misread_positions
    if run is not None:
        path = run.folder / run_folder.misreads_file(scored.split)
        with suppress(OSError, ValueError, KeyError):  # missing or damaged
            stored = pd.read_csv(path)
            same, hashes = stored["index"].tolist() == scored.rows[positions].tolist(), stored["hash"].tolist()
            if same and all(HASH.fullmatch(str(h)) for h in hashes):
                return hashes
    return image_hashes(scored.images[positions]) if scored.has_images else None
