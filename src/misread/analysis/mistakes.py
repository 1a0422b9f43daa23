"""The mistakes of a network: how often it misreads an image that it reads so surely, and how many labels are wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SMALLEST = 1e-37  # stands for a probability too small for float32
TINY = 1e-300  # has a logarithm
BINS = 256  # groups of images of equal certainty that are read right: their likelihood needs no more
PROOF = 3.0  # wrong labels are assumed only if the data are e to this power as likely with them: p < 0.01
FEW = 20  # with fewer misread images nothing is fitted that the defaults do not have


@dataclass(frozen=True)
class MistakeModel:
    """How the mistakes of a network depend on its probabilities, besides wrong labels.

    Certainty is -log(1 - p) of the predicted class, divided by `scale`, its mean.
    An image is misread with the chance 1 / (1 + exp(intercept + slope * certainty ** power)).
    The label of a misread image is class k in proportion to p_k ** sharpness, or with the chance `anywhere` any class.
    wrong_labels: the share of images whose label is wrong, whatever the image: any other class, all alike. It is 0 if
                  the data do not prove that it is above 0.

    Source: logistic regression on data of which a part is contaminated, Copas 1988, "Binary regression models for
    contaminated data", Journal of the Royal Statistical Society B 50: the mistakes of a network become rare where it is
    sure, and wrong labels do not.
    """

    scale: float = 1.0
    intercept: float = 0.0
    slope: float = 1.0
    power: float = 1.0
    sharpness: float = 1.0
    anywhere: float = 0.02
    wrong_labels: float = 0.0

    def misread_chance(self, probs: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """(N,) the chance that an image with a right label is misread. probs: (N, K). predicted: (N,) the classes read."""
        certainty = _certainty(probs, predicted) / self.scale
        return _logistic(-(self.intercept + self.slope * certainty**self.power))

    def label_shares(self, probs: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(M,) the label's share, at most 1, of p ** sharpness among the classes that were not read."""
        return _shares(_others(probs, predicted), labels, self.sharpness)


def fit_mistakes(labels: np.ndarray, probs: np.ndarray, predicted: np.ndarray) -> MistakeModel:
    """The most likely model of these images, by maximum likelihood under weak priors.

    labels:    (N,) int64. probs: (N, K), by networks that did not train on the images. predicted: (N,) the classes read.
    """
    misread = predicted != labels
    if misread.sum() < FEW or misread.all():
        return MistakeModel()
    return _Likelihood(labels, probs, predicted).fit()


class _Likelihood:
    """The likelihood of labels; parameters are intercept and the logarithms or log odds of the others."""

    START = (0.0, 1.0, 0.0, 0.0, -4.0)  # intercept, slope, power, sharpness, anywhere
    SPREAD = np.array([10.0, 3.0, 1.0, 1.0, 3.0])  # standard deviations of the normal priors around START
    BOUNDS = ((-30, 30), (-5, 5), (-1.5, 1), (-3, 3), (-12, 0), (-13, -0.3))  # the last: of wrong labels
    WRONG = (-7.0, -4.0, -2.5)  # where the search for the share of wrong labels starts, as log odds

    def __init__(self, labels: np.ndarray, probs: np.ndarray, predicted: np.ndarray) -> None:
        misread, certainty = predicted != labels, _certainty(probs, predicted)
        self.scale = float(certainty.mean()) or 1.0
        certainty /= self.scale
        parts = np.array_split(np.sort(certainty[~misread]), min(BINS, int((~misread).sum())))
        self.right, self.counts = np.array([part.mean() for part in parts]), np.array([len(part) for part in parts])
        self.wrong = certainty[misread]
        others = _others(probs[misread], predicted[misread])
        self.others = np.maximum(others, -1e4)  # no infinity, which times 0 is not a number
        self.of_labels = self.others[np.arange(len(others)), labels[misread]]
        self.any_other = 1 / (probs.shape[1] - 1)  # the chance of a class that is drawn from those not right

    def fit(self) -> MistakeModel:
        own = self._best(self.START)
        found = min((self._best((*own.x, wrong)) for wrong in self.WRONG), key=lambda result: float(result.fun))
        proven = own.fun - found.fun > PROOF
        intercept, *logs, anywhere = (float(x) for x in (found if proven else own).x[:5])
        slope, power, sharpness = np.exp(logs)
        wrong = float(_logistic(found.x[5])) if proven else 0.0
        return MistakeModel(self.scale, intercept, slope, power, sharpness, float(_logistic(anywhere)), wrong)

    def _best(self, start: Sequence[float]) -> Any:
        from scipy.optimize import minimize  # it takes a while to import

        return minimize(self.loss, start, jac=True, method="L-BFGS-B", bounds=self.BOUNDS[: len(start)])

    def loss(self, at: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log of likelihood and prior, and its gradient."""
        slope, power, sharpness = np.exp(at[1:4])
        anywhere, wrong = _logistic(at[4]), _logistic(at[5]) if len(at) > 5 else 0.0
        gradient = np.zeros(6)

        def add(own: np.ndarray, counts: np.ndarray | float) -> np.ndarray:
            """Add the derivative by `wrong`; return that by the chance of the label if it is right."""
            of_label = (1 - wrong) * own + wrong * (1 - own) * self.any_other + TINY
            nonlocal likely
            likely += (counts * np.log(of_label)).sum()
            gradient[5] += (counts * ((1 - own) * self.any_other - own) / of_label).sum() * wrong * (1 - wrong)
            return counts * (1 - wrong - wrong * self.any_other) / of_label

        def add_certainty(certainty: np.ndarray, by_score: np.ndarray) -> None:
            """Add the derivatives by intercept, slope and power."""
            steep = slope * certainty**power
            gradient[:3] += by_score.sum(), by_score @ steep, by_score @ (steep * power * np.log(certainty))

        likely = 0.0
        read_right = _logistic(at[0] + slope * self.right**power)
        add_certainty(self.right, add(read_right, self.counts) * read_right * (1 - read_right))

        powers = np.exp(sharpness * self.others)
        total = powers.sum(axis=1)
        share = np.exp(sharpness * self.of_labels) / total
        mixed = (1 - anywhere) * share + anywhere * self.any_other
        misread = _logistic(-(at[0] + slope * self.wrong**power))
        by_own = add(misread * mixed, 1.0)
        add_certainty(self.wrong, -by_own * misread * mixed * (1 - misread))
        mean = (powers * self.others).sum(axis=1) / total
        gradient[3] = (by_own * misread * (1 - anywhere) * share * sharpness * (self.of_labels - mean)).sum()
        gradient[4] = (by_own * misread * (self.any_other - share)).sum() * anywhere * (1 - anywhere)

        unusual = (at[:5] - self.START) / self.SPREAD
        gradient[:5] -= unusual / self.SPREAD
        return float((unusual**2).sum() / 2 - likely), -gradient[: len(at)]


def _certainty(probs: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N,) -log(1 - p) of the predicted class, from the other classes' probabilities, because 1 - p would round to 0."""
    others = probs.astype(np.float64)
    others[np.arange(len(others)), predicted] = 0
    return np.maximum(-np.log(np.maximum(others.sum(axis=1), SMALLEST)), 1e-9)


def _others(probs: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N, K) log probabilities, less their largest; -inf for the predicted class."""
    logs = np.log(np.maximum(probs.astype(np.float64), SMALLEST))
    logs[np.arange(len(logs)), predicted] = -np.inf
    return logs - logs.max(axis=1, keepdims=True)


def _shares(logs: np.ndarray, labels: np.ndarray, sharpness: float) -> np.ndarray:
    powers = np.exp(sharpness * logs)
    return powers[np.arange(len(labels)), labels] / powers.sum(axis=1)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
