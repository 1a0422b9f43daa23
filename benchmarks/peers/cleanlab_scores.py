"""cleanlab's rankings of labels: `cleanlab_scores.py FOLDER` reads `<name>.npz` there and writes `<name>.scores.npz`.

Read: labels (N,), probs (N, K). Written: for each ranking a score of every label, low where it is doubtful, for each
filter which labels it takes for wrong, and `count`, how many it estimates are. cleanlab's documented interface, with
its defaults.
"""

import sys
from pathlib import Path

import numpy as np
from cleanlab.count import num_label_issues
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

RANKINGS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
FILTERS = ("confident_learning", "prune_by_noise_rate")  # the latter is its default


def main() -> None:
    for path in sorted(Path(sys.argv[1]).glob("*.npz")):
        with np.load(path) as given:
            labels, probs = given["labels"], given["probs"].astype(np.float64)
        probs /= probs.sum(axis=1, keepdims=True)  # float32 rows sum to 1 but for a rounding
        scores = {name: get_label_quality_scores(labels, probs, method=name) for name in RANKINGS}
        flags = {f"flagged_{name}": find_label_issues(labels, probs, filter_by=name, n_jobs=1) for name in FILTERS}
        count = num_label_issues(labels, probs)
        np.savez(path.with_suffix(".scores.npz"), **scores, **flags, count=count)


if __name__ == "__main__":
    main()
