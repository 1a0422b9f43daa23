"""How many labels are wrong, by several networks none of which trained on the images.

A network that disagrees with a label may be wrong itself. How often it is, several networks tell without any labels:
two networks of one recipe disagree with each other about as often as each of them disagrees with the right labels. They
disagree more often with labels of which some are wrong; the difference gives the share of wrong labels. In the same
way, what one network predicts stands for right labels, to see how many of those the others would flag.
In all functions:
labels:  (N,) int64 class indices 0..K-1, as stored in the data.
members: S arrays (N, K) of probabilities, one for each network or set of networks, as `label_issues` takes them.
Source: Jiang, Nagarajan, Baek and Kolter 2022, "Assessing Generalization of SGD via Disagreement", arXiv 2106.13799.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from misread.analysis.intervals import Z95
from misread.analysis.label_issues import (
    class_thresholds,
    confident_classes,
    flagged_issues,
    margins,
)
from misread.analysis.probabilities import from_log, geometric_mean, log_probs

TOGETHER = 0.1  # networks disagree less often than they err, by about this share, because they err together
PLAUSIBLE = 0.3  # a network predicts up to about this share of the wrong labels that people give, which are plausible
WORTH = 0.5  # more labels than are estimated wrong are flagged only if at least this share of them is wrong
HIDDEN = 2  # networks disagree about a systematic error that they learned, which hides up to half of the wrong labels


@dataclass(frozen=True)
class LabelNoise:
    """The estimated number of wrong labels among n, and its 95% interval; and what is flagged.

    agreement: the mean share of pairs of members that predict the same class. accuracy: the members' mean accuracy by
    the labels as they are. flagged: how many labels are flagged: at most `high`, and at most `count` if fewer than half
    of them would be wrong. precision: the share of them that is estimated to be wrong; NaN if none are flagged. Where
    weak networks make the same errors, it is too high. precision_low: the same if only `low` labels are wrong.
    """

    n: int
    count: int
    low: int
    high: int
    members: int
    agreement: float
    accuracy: float
    flagged: int
    precision: float

    @property
    def precision_low(self) -> float:
        return self.precision * self.low / max(self.count, 1)

    def to_dict(self) -> dict[str, Any]:
        values = {**vars(self), "precision_low": self.precision_low}
        return {key: None if value != value else value for key, value in values.items()}

    def __str__(self) -> str:
        text = f"About {self.count:,} of {self.n:,} labels are wrong ({self.low:,} to {self.high:,}); "
        if not self.flagged:
            return text + "none are flagged"
        flagged = f"{self.flagged:,} {'is' if self.flagged == 1 else 'are'} flagged"
        return text + f"{flagged}, of which {self.precision_low:.0%} to {self.precision:.0%} are wrong"


def estimate_noise(labels: np.ndarray, members: Sequence[np.ndarray]) -> LabelNoise:
    """How many labels are wrong. It needs two members or more.

    Networks err together. Then they agree more often than they are right, which looks like wrong labels: their
    disagreement is raised by `TOGETHER`. The interval has the sampling error, and two allowances that count more. This
    share may be anything from 0 to twice as much; and wrong labels that networks predict, because they are plausible,
    do not lower their accuracy (`PLAUSIBLE`). So the interval is wide for weak networks.
    """
    votes = np.stack([member.argmax(axis=1) for member in members])
    n, classes = members[0].shape
    agree, right = pair_agreement(votes, classes), (votes == labels).mean(axis=0)
    agreement, accuracy = float(agree.mean()), float(right.mean())
    error = Z95 * float((agree - right).std()) / np.sqrt(n) / max(agreement, 1 / classes)
    low, share, high = (
        wrong_share(agreement - together * (1 - agreement), accuracy, classes)
        for together in (2 * TOGETHER, TOGETHER, 0)
    )
    low, high = low - error, high / (1 - PLAUSIBLE) + error
    count, most = round(share * n), min(round(high * n), n)
    probs = geometric_mean(members)
    for at_most in (most, count):
        flagged = flagged_issues(labels, probs, at_most)
        precision = flagged_precision(labels, members, flagged, share)
        if precision >= WORTH:
            break
    return LabelNoise(
        n, count, max(round(low * n), 0), most, len(members), agreement, accuracy, int(flagged.sum()), precision
    )


def looks_wrong(labels: np.ndarray, probs: np.ndarray, unlabelled: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) bool: the labels not to train on, by one network's probabilities for each image.

    probs: (N, K). unlabelled: predictions (M, K) of each of these networks for M other images. What one of them
    predicts there stands for right labels, and what another flags of these are false flags. `HIDDEN` times as many
    labels are left out as are flagged beyond this share, those with the greatest margins. Without this bound, a weak
    network would leave out every image that is hard for it.
    """
    thresholds = class_thresholds(labels, probs)
    flagged = doubted_by(thresholds, probs, labels) / len(labels)
    false = statistics.fmean(
        doubted_by(thresholds, one, other.argmax(axis=1)) / len(one)
        for one, other in itertools.permutations(unlabelled, 2)
    )
    # the flagged are the true ones, and the share `false` of all others
    true = max(flagged - false, 0) / max(1 - false, 1e-9)
    return flagged_issues(labels, probs, round(HIDDEN * true * len(labels)))


def pair_agreement(votes: np.ndarray, classes: int) -> np.ndarray:
    """(N,) in [0, 1], the share of pairs of members that predict the same class of an image. votes: (S, N) classes."""
    same = np.zeros(votes.shape[1])
    for k in range(classes):
        count = (votes == k).sum(axis=0)
        same += count * (count - 1)
    return same / (len(votes) * (len(votes) - 1))


def wrong_share(agreement: float, accuracy: float, classes: int) -> float:
    """The share of wrong labels, in [0, 1], that lowers the accuracy from the right labels' to this one.

    The accuracy by right labels is taken to be the agreement. A wrong label is predicted as often as any wrong class.
    """
    by_chance = (1 - agreement) / (classes - 1)
    return float(np.clip((agreement - accuracy) / max(agreement - by_chance, 1e-9), 0, 1))


def flagged_precision(
    labels: np.ndarray, members: Sequence[np.ndarray], flagged: np.ndarray, share: float
) -> float:  # fmt: skip
    """The estimated share of wrong labels among the flagged; NaN if none are.

    Each member in turn gives the labels, and the others flag those of them that they would flag among the real labels,
    by the same thresholds and the same lowest margin. Flags on real labels in excess of these are true.
    share: of all labels, that is wrong.
    """
    if not flagged.any():
        return float("nan")
    lowest = margins(labels, geometric_mean(members))[flagged].min()
    logs, real, false = sum(map(log_probs, members), np.zeros(members[0].shape)), 0, 0
    for member in members:
        others = from_log((logs - log_probs(member)) / (len(members) - 1))
        thresholds = class_thresholds(labels, others)
        real += doubted_by(thresholds, others, labels, lowest)
        false += doubted_by(thresholds, others, member.argmax(axis=1), lowest)
    # by the rule of succession, so that a few flags are not all called true
    false_share = (false / (1 - TOGETHER) + 1) / (real + 2)
    return float(np.clip(1 - (1 - share) * false_share, 0, 1))


def doubted_by(thresholds: np.ndarray, probs: np.ndarray, labels: np.ndarray, lowest: float = -1) -> int:
    """How many labels are flagged, of those with this margin at least, by thresholds from other labels."""
    confident = confident_classes(thresholds, probs)
    return int(((confident >= 0) & (confident != labels) & (margins(labels, probs) >= lowest)).sum())
