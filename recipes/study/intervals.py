"""Means with their confidence intervals: how they are computed, written and drawn."""

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


def interval_plot(rows, estimates, label):
    """A Matplotlib `Figure` with a group for each row, and a colour for each name.

    `estimates` is a dict from names to lists, with an `Estimate` or `None` for each row.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for position, (name, found) in enumerate(estimates.items()):
        height = 0.15 * (position - (len(estimates) - 1) / 2)
        known = [(row + height, one) for row, one in enumerate(found) if one]
        bars = np.nan_to_num([[one.mean - one.low, one.high - one.mean] for _, one in known]).T
        means, heights = [one.mean for _, one in known], [at for at, _ in known]
        axes.errorbar(means, heights, xerr=bars, fmt="o", capsize=3, label=name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=label, title=f"{CONFIDENCE:.0%} confidence intervals")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    return figure
