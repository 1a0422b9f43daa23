"""Two classifiers on the same images: tests on the images that only one of them reads right."""

import numpy as np

RESAMPLES = 10_000


def mcnemar_p(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test that both classifiers are equally good.

    It is the probability of a split of the disagreements at least as uneven as this one.
    only_first, only_second: the number of images that only the first, only the second reads right. 1.0 if both are 0.
    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
    percentages"; the exact form is the binomial (sign) test with probability 1/2.
    """
    n = only_first + only_second
    ways = tail = 1  # binomial coefficients and their sum, as whole numbers: nothing is rounded
    for k in range(1, min(only_first, only_second) + 1):
        ways = ways * (n - k + 1) // k
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def bootstrap_difference(
    only_first: int, only_second: int, n: int, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The 95% percentile interval of the second's accuracy minus the first's, over resamples of the n images.

    Drawing n images with replacement draws their outcomes (only the first right, only the second, the same for both)
    from a multinomial distribution, so the counts are drawn from it directly. (0, 0) if the two never differ.
    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13; paired, since each image has both
    outcomes.
    """
    shares = np.array([only_first, only_second, n - only_first - only_second]) / n
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / n, [0.025, 0.975])
    return float(low), float(high)
