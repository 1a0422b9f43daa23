"""The mistakes of a network: how often it misreads an image that it reads so surely, and how many labels are wrong."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from misread.analysis.probabilities import SMALLEST, log_probs

TINY = 1e-300  # has a logarithm
BINS = 256  # groups of images of equal certainty that are read right: their likelihood needs no more
PROOF = 3.0  # there are wrong labels if the data are e to this power as likely with them as without: p < 0.01
DOUBT = 2.0  # a share of wrong labels is possible if the data are at least e to minus this power as likely with it


@dataclass(frozen=True)
class MistakeModel:
    """How the mistakes of a network depend on its probabilities, besides wrong labels.

    Certainty is -log(1 - p) of the predicted class, divided by `scale`, its mean.
    An image is misread with the chance 1 / (1 + exp(intercept + slope * certainty ** power)).
    The label of a misread image is class k in proportion to p_k ** sharpness, or with the chance `anywhere` any class.
    wrong_labels: the share of images whose label is wrong, whatever the image: any other class, all alike.

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
        """(N,) the chance that an image with a right label is misread.

        probs: (N, K). predicted: (N,) int64, the classes read.
        """
        certainty = _certainty(probs, predicted) / self.scale
        return _logistic(-(self.intercept + self.slope * certainty**self.power))

    def label_shares(self, probs: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(M,) the label's share, at most 1, of p ** sharpness among the classes that were not read."""
        return _shares(_others(probs, predicted), labels, self.sharpness)

    def plausible(self, probs: np.ndarray, predicted: np.ndarray, labels: np.ndarray, rare: float) -> np.ndarray:
        """(N,) the probability that the label is right, if a share `rare` of all images have a random label."""
        misread = self.misread_chance(probs, predicted)
        with np.errstate(invalid="ignore"):  # a label that was read has no share among the others
            own = np.where(predicted == labels, 1 - misread, misread * self.label_shares(probs, predicted, labels))
        return own / (own + rare / max(probs.shape[1] - 1, 1))


def fit_mistakes(labels: np.ndarray, probs: np.ndarray, predicted: np.ndarray) -> tuple[MistakeModel, MistakeModel]:
    """Two models of these images that the data allow: with as few and with as many wrong labels as possible.

    labels: (N,) int64. probs: (N, K), by networks that did not train on the images. predicted: (N,) the classes read.
    The parameters are the most likely ones under weak priors. The first model has no wrong labels unless the data prove
    that there are some (`PROOF`); the second has the largest share that is still possible (`DOUBT`). Both are the
    default model if all or none of the images are misread.
    """
    misread = predicted != labels
    if misread.all() or not misread.any():
        return MistakeModel(), MistakeModel()
    return _Likelihood(labels, probs, predicted).fit()


class _Likelihood:
    """The likelihood of labels; parameters are intercept and the logarithms or log odds of the others."""

    SPREAD = np.array([3.0, 1.5, 0.7, 1.0, 3.0])  # standard deviations of the normal priors around a calibrated network
    BOUNDS = ((-30, 30), (-8, 8), (-1.5, 1), (-3, 3), (-12, 0))  # intercept, slope, power, sharpness, anywhere
    WRONG = (-7.0, -4.0, -2.5)  # log odds of wrong labels: where their search starts,
    WRONG_BOUNDS = (-13.0, -0.3)
    MORE = np.linspace(-8.0, -0.5, 16)  # and which larger shares are tried

    def __init__(self, labels: np.ndarray, probs: np.ndarray, predicted: np.ndarray) -> None:
        misread, certainty = predicted != labels, _certainty(probs, predicted)
        self.scale = float(certainty.mean()) or 1.0
        certainty /= self.scale
        self.start = np.array([0.0, np.log(self.scale), 0.0, 0.0, -4.0])
        parts = np.array_split(np.sort(certainty[~misread]), min(BINS, int((~misread).sum())))
        self.right, self.counts = np.array([part.mean() for part in parts]), np.array([len(part) for part in parts])
        self.wrong = certainty[misread]
        others = _others(probs[misread], predicted[misread])
        self.others = np.maximum(others, -1e4)  # no infinity, which times 0 is not a number
        self.of_labels = self.others[np.arange(len(others)), labels[misread]]
        self.any_other = 1 / (probs.shape[1] - 1)  # the chance of a class that is drawn from those not right

    def fit(self) -> tuple[MistakeModel, MistakeModel]:
        """The model with the fewest wrong labels that the data allow, and that with the most."""
        none = self._best(self.start)
        fits = [self._best(np.append(none.x, start), free=True) for start in self.WRONG]
        best = min([none, *fits], key=lambda fit: float(fit.fun))
        few = best if none.fun - best.fun > PROOF else none
        many = best
        for more in self.MORE[(best.x[5] if len(best.x) > 5 else -np.inf) < self.MORE]:
            found = self._best(np.append(many.x[:5], more))
            if found.fun > best.fun + DOUBT:
                break
            many = found
        return self._model(few.x), self._model(many.x)

    def _model(self, at: np.ndarray) -> MistakeModel:
        slope, power, sharpness = map(float, np.exp(at[1:4]))
        wrong = float(_logistic(at[5])) if len(at) > 5 else 0.0
        return MistakeModel(self.scale, float(at[0]), slope, power, sharpness, float(_logistic(at[4])), wrong)

    def _best(self, start: np.ndarray, free: bool = False) -> Any:
        """The fit from this start. The share of wrong labels, if it is there, keeps its value unless it is `free`."""
        from scipy.optimize import minimize  # it takes a while to import

        bounds = [*self.BOUNDS, self.WRONG_BOUNDS if free else (start[-1], start[-1])][: len(start)]
        return minimize(self.loss, start, jac=True, method="L-BFGS-B", bounds=bounds)

    def loss(self, at: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log of likelihood and prior, and its gradient."""
        slope, power, sharpness = np.exp(at[1:4])
        anywhere, wrong = _logistic(at[4]), _logistic(at[5]) if len(at) > 5 else 0.0
        gradient, likely = np.zeros(6), 0.0

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

        unusual = (at[:5] - self.start) / self.SPREAD
        gradient[:5] -= unusual / self.SPREAD
        return float((unusual**2).sum() / 2 - likely), -gradient[: len(at)]


def _certainty(probs: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N,) -log(1 - p) of the predicted class. 1 - p is the sum of the other classes, because p may round to 1."""
    others = probs.astype(np.float64)
    others[np.arange(len(others)), predicted] = 0
    return np.maximum(-np.log(np.maximum(others.sum(axis=1), SMALLEST)), 1e-9)


def _others(probs: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N, K) log probabilities, less their largest; -inf for the predicted class."""
    logs = log_probs(probs)
    logs[np.arange(len(logs)), predicted] = -np.inf
    return logs - logs.max(axis=1, keepdims=True)


def _shares(logs: np.ndarray, labels: np.ndarray, sharpness: float) -> np.ndarray:
    powers = np.exp(sharpness * logs)
    return powers[np.arange(len(labels)), labels] / powers.sum(axis=1)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))
