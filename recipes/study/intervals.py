"""Means with their confidence intervals, and tables of them."""

import dataclasses
import math

import numpy as np

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and its confidence interval. Its ends are NaN where a single observation leaves them unknown."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self):
        if math.isnan(self.low):
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def mean_gain(pairs):
    """The `Estimate` of tuples (value, what it is compared with, seed), by a paired t test over seeds.

    Runs of one seed share images and initial weights, also across comparisons. So each seed is one observation: the
    mean of its pairs' differences. A seed with more pairs weighs no more. An interval of weighted seeds (CR1, Cameron
    and Miller, https://doi.org/10.3368/jhr.50.2.317) is too narrow with so few seeds.
    """
    from scipy import stats

    differences = {}
    for value, baseline, seed in pairs:
        differences.setdefault(seed, []).append(value - baseline)
    observations = [np.mean(of_seed) for of_seed in differences.values()]
    if len(observations) < 2:
        return Estimate(observations[0])
    return Estimate(np.mean(observations), *stats.ttest_1samp(observations, 0).confidence_interval(CONFIDENCE))


def markdown_table(headers, rows):
    """A table in Markdown, without a line break at its end."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [headers, ["---"] * len(headers), *rows])
